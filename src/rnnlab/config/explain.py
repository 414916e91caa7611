"""Hydra's errors as lines that help: what was asked, what is possible, the nearest right spelling."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from yaml import YAMLError

from rnnlab.config.schema import COMPONENTS, FIXED, NAMED, other_choice
from rnnlab.config.spelling import near_key
from rnnlab.errors import UserError, nearest

OPTIONAL_GROUPS = ("experiment", "debug", "local")


SWEEP = "several values are a sweep: add --multirun, or put a list into [brackets]"
NO_SWEEP = (
    "several values are a sweep, and this is one run: call it for each value, or put a list into [brackets]"
)


def explain(
    error: Exception, overrides: Sequence[str], config_dir: str | Path | None = None, sweep: str = SWEEP
) -> list[str]:
    """A line for each of the `overrides` at fault; Hydra itself stops at the first.

    The override at fault is left out and the rest composed again, until it composes or the fault lies
    elsewhere (in a file). After a wrong choice of a group nothing else is judged: it would be judged against
    the wrong choice.
    """
    try:
        return [line.replace(SWEEP, sweep) for line in _explained(error, overrides, config_dir)]
    except Exception:  # what was to be explained matters more
        return [_without_keys(error)]


def _explained(error: Exception, overrides: Sequence[str], config_dir: str | Path | None) -> list[str]:
    from rnnlab.config.checking import check
    from rnnlab.config.composing import COMPOSING, composed

    left = [first_of_sweep(o) for o in overrides]
    lines: list[str] = []
    at_fault: set[str] = set()
    found: Exception = error
    for _ in range(len(left) + 1):
        line, culprit, is_choice = _read(found, left, config_dir)
        lines.append(line)
        if culprit is None:
            return lines
        left.remove(culprit)
        at_fault |= {_key(culprit), *re.findall(r"Did you mean ([\w.]+)\?", line)}
        try:
            cfg = composed(left, config_dir)
        except COMPOSING as another:
            if is_choice and not isinstance(another, MissingConfigException):
                return lines
            found = another
            continue
        if not is_choice:
            try:
                check(cfg, left, config_dir)
            except UserError as more:  # that a key is not set any more says nothing new
                lines += [
                    said for said in map(str, more.args) if said.partition(" is required")[0] not in at_fault
                ]
        break
    return lines


def first_of_sweep(override: str) -> str:
    """`seed=1,2,3` as `seed=1`, so that the overrides of a sweep compose as one job."""
    parsed = _parsed(override)
    if parsed is None or not parsed.is_sweep_override():
        return override
    key, value = override.split("=")[0], parsed.value()
    if isinstance(value, IntervalSweep):
        first: Any = value.start
    elif isinstance(value, Glob):
        first = next((name for name in choices_of(_key(key), None) if value.filter([name])), value)
    else:
        first = next(iter(parsed.sweep_string_iterator()))
    return f"{key}={first}"


def _parsed(override: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _key(override: str) -> str:
    return override.split("=")[0].lstrip("+~")


def _with_key(key: str, overrides: Sequence[str]) -> str | None:
    return next((o for o in overrides if _key(o) == key), None)


def _read(
    error: Exception, overrides: list[str], config_dir: str | Path | None
) -> tuple[str, str | None, bool]:
    """The line for an error, the override at fault if it is one, and whether it chose from a group."""
    text = str(error)
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    where = re.match(r"In '(.+?)': ", first)
    file = where[1] if where and where[1] != "config" else ""
    if isinstance(error, OverrideParseException):
        line, culprit = _unreadable(error, overrides)
        return line, culprit, False
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        asked = error.missing_cfg_file
        for override in overrides:
            group, _, value = override.lstrip("+").partition("=")
            choice = asked.removeprefix(f"{group.split('@')[0]}/")
            if choice != asked and choice in value:
                hint = nearest(choice, {*choices_of(group.split("@")[0], config_dir), *(error.options or ())})
                return f"{group}={choice}: no such choice.{hint}", override, True
        hint = nearest(asked.rpartition("/")[2], error.options or ())
        # Hydra does not say which file asked; an experiment is the likeliest
        asking = file or _with_key("experiment", overrides) or "config"
        return f"{asking}: there is no {asked}.{hint}", None, False
    if isinstance(error, YAMLError):
        mark = getattr(error, "problem_mark", None)
        place = f"{mark.name.strip(chr(34))}, line {mark.line + 1}" if mark else "a config file"
        return f"{place}: not YAML: {getattr(error, 'problem', None) or first}", None, False
    if found := re.search(r"Sweep parameters '(.+)' requires|Ambiguous value for argument '(.+)'", first):
        culprit = found[1] or found[2]
        line = f"{culprit}: {SWEEP}"
        return line, culprit if culprit in overrides else None, False
    if found := re.search(r"Could not (?:override|delete(?: from config\.)?) '(.+?)(?:@.*)?'", first):
        key = found[1]
        near = _near(key, overrides, config_dir)
        if file:
            return f"{file}: override {key}: no such group.{near}", None, False
        return f"{key}: no such key.{near}", _with_key(key, overrides), False
    if found := re.search(r"An item is already at '(.+)'|Multiple values for (\w+)", first):
        key = found[1] or found[2]
        return f"+{key}: is there already; write {key}=VALUE without the +", _with_key(key, overrides), False
    if found := re.search(r"Error merging override (.+)", first):
        culprit = found[1] if found[1] in overrides else None
        cause: Any = error.__cause__ or error
        line = f"{found[1]}: {_without_keys(cause)}"
        return line, culprit, False
    if "Config group override must be" in first:
        culprit = next((o for o in overrides if re.search(r"^[\w/]+=(null|true|false|[\d.]+)$", o)), None)
        if culprit is not None:
            choices = choices_of(_key(culprit), config_dir)
            return f"{culprit}: no such choice.{nearest(culprit.split('=')[1], choices)}", culprit, True
    return _without_keys(error), None, False


def choices_of(group: str, config_dir: str | Path | None) -> list[str]:
    """What a group can be set to, in our folder and the user's: `sine`, `notebook/char_rnn`."""
    from rnnlab.config.composing import config_folder

    folders = [config_folder() / group, *([Path(config_dir) / group] if config_dir is not None else [])]
    found = {
        path.relative_to(folder).with_suffix("") for folder in folders for path in folder.rglob("*.yaml")
    }
    return sorted(path.as_posix() for path in found)


def _unreadable(error: OverrideParseException, overrides: list[str]) -> tuple[str, str | None]:
    asked = error.override
    culprit = asked if asked in overrides else None
    if "=" not in asked and not asked.startswith("~"):
        return f"{asked}: an override is written KEY=VALUE", culprit
    detail = str(error).replace(f"Error parsing override '{asked}'", "").strip().splitlines()[0]
    key = asked.split("=")[0]
    if culprit is None and not any(key == _key(override) for override in overrides):
        return (
            f"hydra.sweeper.params: {asked}: cannot be read ({detail}); it stands in a file of configs",
            None,
        )
    return (
        f"{asked}: cannot be read ({detail}); a value of special characters is quoted: '{key}=\"...\"'",
        culprit,
    )


def _near(key: str, overrides: list[str], config_dir: str | Path | None) -> str:
    from rnnlab.config.composing import COMPOSING, composed

    choices = [o for o in overrides if "." not in _key(o) and _key(o) != key]
    try:
        tree = composed(choices, config_dir)
    except COMPOSING:
        tree = composed()
    section, _, last = key.partition(".")
    if section in FIXED and last in FIXED[section].reserved:
        return f" {FIXED[section].reserved[last]}"
    if f"~{key}" not in overrides and _could_be_added(key, tree):
        return f" +{key}=VALUE adds it."
    if other := other_choice(section, last):
        return f" {section}={other} has it."
    shows = "hydra" if section == "hydra" else "job"
    return near_key(key, tree, OPTIONAL_GROUPS) or f" `rnnlab train --cfg {shows}` shows all keys."


def _could_be_added(key: str, tree: Any) -> bool:
    """Whether it is an argument that the config leaves out, or may be one of a class that we do not know."""
    parent, _, last = key.rpartition(".")
    if parent in FIXED:
        return last in FIXED[parent].model_fields
    node = OmegaConf.to_container(tree, resolve=False)
    for name in parent.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict) or "_target_" not in node:
        return False
    known = (COMPONENTS | NAMED).get(parent.partition(".")[0], {})
    if node["_target_"] in known:
        return last in known[node["_target_"]].model_fields
    return not difflib.get_close_matches(last, map(str, node), n=1, cutoff=0.6)


def _without_keys(error: BaseException) -> str:
    """A message of OmegaConf or Hydra on one line, without the trailers about types and links."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [
        x
        for x in lines
        if x and not re.match(r"(full_key|object_type|reference_type|See http|Config search)", x)
    ]
    return " ".join(kept) or type(error).__name__
