"""Explains overrides that Hydra cannot compose: the wrong setting, what is possible, the nearest right spelling.

Hydra stops at the first fault. Here the groups are composed again with fewer overrides, by bisection, to find each
wrong choice; then the keys are set one by one. A fault is classified by its key and the tree, not by the words of
Hydra's message.
"""

import copy
import difflib
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from rnnlab.config.building import locate
from rnnlab.config.checking import check
from rnnlab.config.dotted import ABSENT, value_at
from rnnlab.config.hydra_config import COMPOSING, addable, composed
from rnnlab.config.hydra_keys import absent, key_of
from rnnlab.config.origins import config_folder
from rnnlab.config.schema import COMPONENTS, FIXED, NAMED, SECTIONS, other_choice
from rnnlab.config.spelling import near_key
from rnnlab.config.texts import kept
from rnnlab.errors import UserError, nearest

OPTIONAL_GROUPS = ("experiment", "debug", "local")
SWEEP = "several values are a sweep: add --multirun, or put a list into [brackets]"
NO_SWEEP = (
    "several values are a sweep, and this is one run: call it for each value, or put a list into [brackets]"
)


# choices that need a package of their own
INSTALLED = {
    **{f"hydra/launcher={name}": f"is not installed: pip install {package}" for name, package in (
        ("joblib", "hydra-joblib-launcher"), ("submitit_local", "hydra-submitit-launcher"),
        ("submitit_slurm", "hydra-submitit-launcher"), ("ray", "hydra-ray-launcher"))},
    **{f"hydra/sweeper={name}": f"is not installed: pip install {package}; sweep.search=tpe searches without it"
       for name, package in (("optuna", "hydra-optuna-sweeper"), ("ax", "hydra-ax-sweeper"),
                             ("nevergrad", "hydra-nevergrad-sweeper"))},
    "hydra/hydra_logging=colorlog": "is not installed: pip install hydra-colorlog",
    "hydra/job_logging=colorlog": "is not installed: pip install hydra-colorlog",
}  # fmt: skip


class Fault(Enum):
    """The kind of fault in an override; it decides which other overrides can still be checked."""

    KEY = "its key, its value or how it is written: all others can be"
    CHOICE = "its group has no such choice: keys can't be, for they would be judged against the wrong one"
    FILE = "a file that it reads: nothing can be"


def explain(
    error: Exception, overrides: Sequence[str], config_dir: str | Path | None = None, sweep: str | None = None
) -> list[str]:
    """A line for each wrong one of the `overrides`. `sweep` is the advice for several values where one is needed."""
    try:
        return _explained(error, overrides, config_dir, sweep) or [_without_keys(error)]
    except Exception:  # the error to explain matters more than one in this explanation
        return [_without_keys(error)]


def _explained(
    error: Exception, overrides: Sequence[str], config_dir: str | Path | None, sweep: str | None
) -> list[str]:
    if isinstance(error, OverrideParseException) and error.override not in overrides:
        line = _unreadable(error)
        if not any(_key(error.override) == _key(override) for override in overrides):
            line = f"hydra.sweeper.params: {line}; it stands in a file of configs"
        return [line]
    elsewhere = any(_key(override) == "hydra.searchpath" for override in overrides)
    singles = [(override, first_of_sweep(override, config_dir)) for override in overrides]
    lines = [
        f"{override}: it has no values" for override, single in singles if single is None and not elsewhere
    ]
    groups: list[str] = []
    keys: list[str] = []
    for single in [single for _, single in singles if single is not None]:
        (groups if _of_groups(single, config_dir, elsewhere) else keys).append(single)
    # sorted by dependency: folders, groups, keys in groups. Groups that an experiment may leave open come before the
    # experiment, groups that an experiment may add come after it
    groups.sort(key=lambda o: (_key(o) != "hydra.searchpath", "." in _key(o), _key(o) not in SECTIONS))
    explained: set[str] = set()  # the keys that a line is about

    def first(count: int) -> DictConfig | Exception:
        try:
            return composed(groups[:count], config_dir)
        except COMPOSING as fault:
            return fault

    def judge(fault: Exception, culprit: str, tree: DictConfig) -> Fault:
        line, kind = _judge(fault, culprit, tree, config_dir)
        lines.append(line)
        explained.update([_key(culprit), *re.findall(r"Did you mean ([\w.]+)\?", line)])
        return kind

    judged = True  # whether keys and values can be checked
    while isinstance(found := first(len(groups)), Exception):
        count = bisect_left(range(len(groups)), True, key=lambda n: isinstance(first(n), Exception))
        tree, found = (first(count - 1) if count else None), first(count)
        assert isinstance(found, Exception)
        if not isinstance(tree, DictConfig):
            return [*lines, _of_a_file(found, "config")]
        fault = judge(found, groups.pop(count - 1), tree)
        if fault is Fault.FILE:
            return lines
        judged = judged and fault is not Fault.CHOICE
    for override in keys if judged else ():
        try:
            parsed = OverridesParser.create().parse_overrides(addable(kept([override])))
            tried = copy.deepcopy(found)  # a failing override may already have changed it
            ConfigLoaderImpl._apply_overrides_to_config(parsed, tried)
            found = tried
            groups.append(override)
        except COMPOSING as wrong:
            judge(wrong, override, found)
    if isinstance(error, InstantiationException):  # Hydra builds its own callbacks
        lines += _of_parts(error, overrides)
    if not lines and isinstance(error, MissingConfigException):  # all overrides compose with rnnlab's config
        return [
            f"there is no config {error.missing_cfg_file}: rnnlab always starts from its own; --config-dir FOLDER adds "
            "groups and experiments of yours"
        ]
    if lines and judged:
        try:
            check(found, groups, config_dir)
        except UserError as more:  # without lines about keys whose wrong override was left out
            lines += [
                x
                for x in map(str, more.args)
                if re.split(r" is required|: is missing", x)[0] not in explained
            ]
    several = [o for o, single in singles if o != single and (single or elsewhere)] if sweep else []
    return lines + [f"{override}: {sweep}" for override in several]


def _of_parts(error: Exception, overrides: Sequence[str]) -> Iterator[str]:
    """Lines about Hydra's callbacks, launcher and sweeper, if Hydra could not make them."""
    extra = re.search(
        r"Error in call to target '([\w.]+)'.*unexpected keyword argument '(\w+)'", str(error), re.S
    )
    if "Cannot instantiate config of type" in str(error):
        yield "hydra.callbacks: each is a class and its arguments, {_target_: MODULE.CLASS, ...}"
    for key, _, target in (override.lstrip("+").partition("=") for override in overrides):
        if re.fullmatch(r"hydra\.callbacks\..+\._target_", key):
            try:
                locate(target, key.removesuffix("._target_"))
            except UserError as wrong:
                yield from map(str, wrong.args)
        elif extra and re.fullmatch(rf"hydra\.(launcher|sweeper|callbacks\.\w+)\.{extra[2]}", key):
            yield f"{key}: {extra[1].rpartition('.')[2]} has no such argument"


def first_of_sweep(override: str, config_dir: str | Path | None = None) -> str | None:
    """`seed=1` for `seed=1,2,3`, so that the overrides of a sweep compose as one job; None if there are no values."""
    parsed = _parsed(override)
    if parsed is None or not parsed.is_sweep_override():
        return override
    key, value = override.split("=")[0], parsed.value()
    if isinstance(value, IntervalSweep):
        first: Any = value.start
    elif isinstance(value, Glob):
        first = next(iter(value.filter(choices_of(_key(key), config_dir))), None)
    else:
        first = next(iter(parsed.sweep_string_iterator()), None)
    return None if first is None else f"{key}={first}"


def _parsed(override: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _key(override: str) -> str:
    return override.split("=")[0].lstrip("+~")


def _of_groups(override: str, config_dir: str | Path | None, elsewhere: bool) -> bool:
    """Whether an override is a group's choice or one of Hydra's own keys, which only Hydra can compose.

    `elsewhere`: the search path has more folders, so that any name may be a group.
    """
    key = _key(override)
    return key.startswith("hydra.") or ("." not in key.partition("@")[0] and bool(
        elsewhere or "/" in key or "@" in key or choices_of(key, config_dir)))  # fmt: skip


def _judge(
    error: Exception, override: str, tree: DictConfig, config_dir: str | Path | None
) -> tuple[str, Fault]:
    """The line for an override that does not compose with those of the tree, and the kind of its fault."""
    parsed = _parsed(override)
    if isinstance(error, OverrideParseException) or parsed is None or not parsed.key_or_group:
        return _unreadable(error, override), Fault.KEY
    key, value = parsed.key_or_group, parsed.value()
    choices = choices_of(key, config_dir)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        choice = error.missing_cfg_file.removeprefix(f"{key}/")
        if choice == error.missing_cfg_file or choice not in str(value):
            return _of_a_file(error, override), Fault.FILE
        if installed := INSTALLED.get(f"{key}={choice}"):
            return f"{key}={choice}: {installed}", Fault.CHOICE
        return (
            f"{key}={choice}: no such choice.{nearest(choice, {*choices, *(error.options or ())} - {choice})}",
            Fault.CHOICE,
        )
    if isinstance(error, YAMLError | UnicodeError | RecursionError) or _file_of(error):
        return _of_a_file(error, override), Fault.FILE
    if choices and not isinstance(value, str | list):
        return f"{override}: no such choice.{nearest(str(parsed.get_value_string()), choices)}", Fault.CHOICE
    if choices and override.startswith(f"{key}="):
        return _of_a_file(error, override), Fault.FILE
    # Hydra's own keys are not in the tree
    there = _is_in(key, tree) or (key.startswith("hydra.") and not str(error).startswith("Could not "))
    if parsed.is_add() and (there or choices):
        return f"+{key}: is there already; write {key}=VALUE without the +", Fault.KEY
    if not there:
        return f"{key}: no such key.{_near(key, override, tree)}", Fault.KEY
    return f"{override}: {_without_keys(error.__cause__ or error)}", Fault.KEY


def _of_a_file(error: Exception, asking: str) -> str:
    """The line for a wrong config file; `asking` is the override or file that reads it, if the error does not say."""
    if isinstance(error, YAMLError):
        mark = getattr(error, "problem_mark", None)
        place = f"{mark.name.strip(chr(34))}, line {mark.line + 1}" if mark else "a config file"
        return f"{place}: not YAML: {getattr(error, 'problem', None) or _without_keys(error)}"
    asking = _file_of(error) or asking
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        asked = error.missing_cfg_file
        return f"{asking}: there is no {asked}.{nearest(asked.rpartition('/')[2], error.options or ())}"
    if found := re.search(r"Could not override '(.+?)(?:@.*)?'", str(error)):
        return (
            f"{asking}: override {found[1]}: no such group.{near_key(found[1], composed(), OPTIONAL_GROUPS)}"
        )
    if found := re.search(r"Key '(.+?)' not in '(\w+)'", str(error)):
        key = f"{key_of(found[2])}.{found[1]}"
        return f"{asking}: {key}: {absent(key) or 'no such key'}"
    if isinstance(error, KeyError):  # an environment variable that hydra.job.env_copy names is not set
        return f"{asking}: hydra.job.env_copy: the environment variable {error.args[0]} is not set"
    if isinstance(error, UnicodeError):
        return f"{asking}: a file of configs is not UTF-8 ({_without_keys(error)})"
    if isinstance(error, RecursionError):
        return f"{asking}: its list of defaults leads back to itself"
    return f"{asking}: {_without_keys(error).removeprefix(f'In {asking!r}: ')}"


def _file_of(error: Exception) -> str:
    """The file, such as `experiment/mine`, that the message of an error of Hydra names; "" if it names none."""
    found = re.match(r"In '(.+?)': ", str(error).lstrip())
    return found[1] if found and found[1] != "config" else ""


def choices_of(group: str, config_dir: str | Path | None) -> list[str]:
    """The choices of a group, in rnnlab's folder and the user's: `sine`, `notebook/char_rnn`; [] for no group."""
    if not re.fullmatch(r"\w+(/\w+)*", group):
        return []
    folders = [config_folder() / group, *([Path(config_dir) / group] if config_dir is not None else [])]
    files = [(path, folder) for folder in folders for path in folder.rglob("*.yaml") if path.is_file()]
    found = {path.relative_to(folder).with_suffix("") for path, folder in files}
    return sorted(path.as_posix() for path in found)


def _unreadable(error: Exception, override: str = "") -> str:
    """The line for an override that is not in Hydra's grammar: one of the user's, or one from a file."""
    asked = override or getattr(error, "override", "")
    if not asked.partition("=")[0] or ("=" not in asked and not asked.startswith("~")):
        return f"{asked}: an override is written KEY=VALUE"
    detail = str(error).replace(f"Error parsing override '{asked}'", "").strip().splitlines()[0]
    if found := re.fullmatch(r"([\w./+]+)\[(\d+)\]([\w.]*)", asked.split("=")[0]):
        return f"{asked}: an element of a list is written {found[1]}.{found[2]}{found[3]}=VALUE"
    if asked[:1] in "'\"" and asked[0] == asked[-1]:
        return f"{asked}: quotes around all of it are the shell's; write {asked[1:-1]}"
    line = f"{asked}: cannot be read ({detail})"
    return (
        f"{line}; a value of special characters is quoted: '{asked.split('=')[0]}=\"...\"'"
        if override
        else line
    )


def _near(key: str, override: str, tree: DictConfig) -> str:
    section, _, last = key.partition(".")
    if section in FIXED and last in FIXED[section].reserved:
        return f" {FIXED[section].reserved[last]}"
    if not override.startswith("~") and _could_be_added(key, tree):
        return f" +{key}=VALUE adds it."
    if named := re.match(r"hydra\.(sweeper\.params|job\.env_set|callbacks)\b", key):
        return f" +{named[0]}.KEY=VALUE adds one."
    if other := other_choice(section, last):
        return f" {section}={other} has it."
    shows = "hydra" if section == "hydra" else "job"
    return near_key(key, tree, OPTIONAL_GROUPS) or f" `rnnlab train --cfg {shows}` shows all keys."


def _is_in(key: str, tree: Any) -> bool:
    return value_at(OmegaConf.to_container(tree, resolve=False), key, ABSENT) is not ABSENT


def _could_be_added(key: str, tree: Any) -> bool:
    """Whether a key may be an argument that the config leaves out, or one of a class without a schema."""
    parent, _, last = key.rpartition(".")
    if parent in FIXED:
        return last in FIXED[parent].model_fields
    node = value_at(OmegaConf.to_container(tree, resolve=False), parent)
    if not isinstance(node, dict) or "_target_" not in node:
        return False
    known = (COMPONENTS | NAMED).get(parent.partition(".")[0], {})
    if node["_target_"] in known:
        return last in known[node["_target_"]].model_fields
    return not difflib.get_close_matches(last, map(str, node), n=1, cutoff=0.6)


def _without_keys(error: BaseException) -> str:
    """A message of OmegaConf or Hydra in one line, without its last lines about types and links."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [
        x
        for x in lines
        if x and not re.match(r"(full_key|object_type|reference_type|See http|Config search)", x)
    ]
    return " ".join(kept) or type(error).__name__
