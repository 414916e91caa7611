"""Hydra's own keys: which have an effect in `rnnlab train`, and what to use in place of the others."""

import dataclasses
import inspect
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from rnnlab.config.dotted import ABSENT, value_at
from rnnlab.config.origins import config_folder, file
from rnnlab.config.spelling import near_key
from rnnlab.errors import UserError, nearest

# keys that have no effect, and what has an effect in their place
UNUSED = {
    "hydra.run.dir": "a run's folder lies in paths.outputs, below its name",
    "hydra.sweep.dir": "a sweep's runs lie in paths.outputs, below their name",
    "hydra.sweep.subdir": "a run's folder is named by what differs from the experiment",
    "hydra.output_subdir": "a run's folder holds its config.yaml and overrides.yaml",
    "hydra.job.name": "name=NAME names the experiment, and its folder",
    "hydra.job.chdir": "a run stays in the working folder",
    "hydra.job.num": "Hydra's launchers count their jobs; a run is the same alone and in a sweep",
    "hydra.job.id": "a run's id is a hash of its config",
    "hydra.job.override_dirname": "a run's folder is named by what differs from the experiment",
    "hydra.job.config_name": "the config is rnnlab's; --config-dir adds files of your own",
    "hydra.job.config": "a run's folder is named by what differs from the experiment",
    "hydra.overrides": "Hydra fills it in with what you typed",
    "hydra.runtime": "Hydra fills it in itself",
    "hydra.env": "Hydra does nothing with it",
    "hydra.output": "Hydra does nothing with it",
}
LOGGING = ("version", "formatters", "filters", "handlers", "loggers", "root", "incremental",
           "disable_existing_loggers")  # fmt: skip
OF_OURS = {"sweeper": ("params", "max_batch_size")}  # arguments that every sweeper may have
FOLDERS = ("hydra.sweep.dir", "hydra.sweep.subdir")  # keys that other launchers than rnnlab's use
CHOSEN = ("hydra.launcher", "hydra.sweeper", "hydra.job_logging", "hydra.hydra_logging", "hydra.help",
          "hydra.hydra_help")  # fmt: skip
AS_OURS: dict[str, Any] = {
    "hydra.run.dir": ".", "hydra.sweep.dir": "${paths.outputs}/${name}", "hydra.sweep.subdir": ".",
    "hydra.output_subdir": None, "hydra.job.name": "rnnlab", "hydra.job.chdir": False, "hydra.job.num": "???",
    "hydra.job.id": "???", "hydra.job.config.override_dirname.kv_sep": "=",
    "hydra.job.config.override_dirname.item_sep": ",", "hydra.job.config.override_dirname.exclude_keys": [],
}  # fmt: skip


def refuse_unused(overrides: Sequence[str]) -> None:
    """Raises UserError with a line for each of Hydra's own keys that has no effect or does not exist.

    The folder of a sweep is allowed for another launcher than rnnlab's, which uses it.
    """
    stock = any(re.match(r"hydra/launcher=(?!rnnlab$)", override) for override in overrides)
    lines = []
    # not the words of command-line options
    for override in (word for word in overrides if "=" in word or word.startswith("~")):
        asked, _, value = override.partition("=")
        if not re.match(r"hydra[./]|hydra$", asked.lstrip("+~")):
            continue
        for key, one in _leaves(asked.lstrip("+~").replace("/", "."), _value(override)):
            at = override if key == asked.lstrip("+~").replace("/", ".") else f"{override}: {key}"
            if (why := unused(key)) and not (stock and key in FOLDERS):
                lines.append(f"{at}: has no effect in rnnlab: {why}")
            elif (why := absent(key)) and "/" not in asked:
                lines.append(f"{key}: {why}")
            elif key in CHOSEN and asked == key and not value.startswith("{"):
                lines.append(f"{override}: a choice is written {key.replace('.', '/', 1)}={value}")
            elif why := _impossible(key, one):
                lines.append(f"{at}: {why}")
    if lines:
        raise UserError(*lines)


def refuse_elsewhere(overrides: Sequence[str]) -> None:
    """As `refuse_unused`; also raises UserError for keys that only have an effect in the command `rnnlab train`."""
    refuse_unused(overrides)
    if lines := [f"{override}: has an effect in the command `rnnlab train` alone" for override in overrides
                 if re.match(r"[+~]*hydra([./](?!searchpath\b)|=)", override)]:  # fmt: skip
        raise UserError(*lines)


def _value(override: str) -> Any:
    """The value of an override as Hydra reads it; None if it cannot be read, which Hydra itself reports."""
    try:
        return OverridesParser.create().parse_override(override).value()
    except HydraException:
        return None


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(key, value) for each key that a value sets; a dictionary sets the keys inside it."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)
    else:
        yield key, value


def unused(key: str) -> str:
    """What to use in place of a key of Hydra that has no effect; "" for a key that has one."""
    return next((why for name, why in UNUSED.items() if key == name or key.startswith(f"{name}.")), "")


def absent(key: str) -> str:
    """An error, with the nearest key, if Hydra's own config has no such key; "" if it has it."""
    at = "hydra"
    node: Any = HydraConf
    for name in key.split(".")[1:]:
        if at in ("hydra.job_logging", "hydra.hydra_logging"):
            known: Any = dict.fromkeys(LOGGING, Any)
        elif dataclasses.is_dataclass(node):
            known = {field.name: field.type for field in dataclasses.fields(node) if field.name != "defaults"}
        else:
            return ""  # a key of a launcher or a sweeper, or one that the user names
        if name not in known:
            return f"no such key.{near_key(f'{at}.{name}', {f'{at}.{other}': 0 for other in known})}"
        at, node = f"{at}.{name}", known[name]
    return ""


def key_of(schema: str) -> str:
    """The key of Hydra's config that one of its classes describes: JobConf is `hydra.job`."""
    places: list[tuple[str, Any]] = [("hydra", HydraConf)]
    for at, node in places:
        if node.__name__ == schema:
            return at
        places += [
            (f"{at}.{f.name}", f.type) for f in dataclasses.fields(node) if dataclasses.is_dataclass(f.type)
        ]
    return next((f"hydra.{part}" for part in ("launcher", "sweeper") if part in schema.lower()), "hydra")


def _impossible(key: str, value: Any) -> str:
    """Why Hydra would fail on a value that it does not check itself; "" if it would not."""
    if key == "hydra.verbose" and not isinstance(value, bool | str | list | type(None)):
        return "must be true, false, or names of Python's loggers"
    if key == "hydra.job.env_copy" and isinstance(value, list):
        gone = [str(name) for name in value if str(name) not in os.environ]
        return f"the environment variable {gone[0]} is not set" if gone else ""
    if re.fullmatch(r"hydra\.callbacks\.[^.]+", key) and value is not None:
        return f"a callback is named by its class, +{key}._target_=MODULE.CLASS"
    return ""


def unused_in_files(hydra: Any) -> list[str]:
    """A line for each of Hydra's own keys that is set in a file but has no effect. `hydra` is Hydra's config."""
    stock = not str(hydra.launcher._target_).endswith(".RnnlabLauncher")
    theirs = (*FOLDERS, "hydra.job.num", "hydra.job.id") if stock else ()
    plain: Any = OmegaConf.to_container(hydra, resolve=False)
    there = list(_set_by_files(plain["runtime"]))
    found = {key: (value, str(path)) for path, key, value in there
             if unused(key) and value != AS_OURS.get(key, ABSENT)}  # fmt: skip
    for key, ours in AS_OURS.items():
        value = value_at(plain, key.removeprefix("hydra."))
        if value != ours:
            found.setdefault(key, (value, "a file of configs"))
    lines = [f"{key}={value}: is in {path}, and has no effect in rnnlab: {unused(key)}"
             for key, (value, path) in found.items() if key not in theirs]  # fmt: skip
    lines += [
        f"{key}: {why} (in {path})" for path, key, _ in there if not unused(key) and (why := absent(key))
    ]
    lines += [
        f"hydra.callbacks.{name}: names no class; each is {{_target_: MODULE.CLASS, ...}}"
        for name, node in plain["callbacks"].items()
        if not isinstance(node, dict) or "_target_" not in node
    ]
    return lines + [
        line for part in ("launcher", "sweeper") for line in _unknown_arguments(part, plain[part])
    ]


def _set_by_files(runtime: dict[str, Any]) -> Iterator[tuple[Path, str, Any]]:
    """(file, key, value) of Hydra's own keys in the files of users' folders, also of keys that Hydra sets later."""
    folders = [Path(source["path"]) for source in runtime["config_sources"] if source["schema"] == "file"]
    choices = {"local": "default", **runtime["choices"]}
    for folder in folders:
        for group, names in choices.items() if folder != config_folder() else [("local", "default")]:
            for name in names if isinstance(names, list) else [names]:
                for path, at, content in file([folder], group.partition("@")[0], str(name)):
                    header = re.search(r"^# *@package +(\S+)", path.read_text(encoding="utf-8"), re.M)
                    at = {"_global_": "", "_group_": at}.get(header[1], header[1]) if header else at
                    for key, value in _leaves(at, content):
                        if (key := key.removeprefix(".")).startswith("hydra."):
                            yield path, key, value


def _unknown_arguments(part: str, node: dict[str, Any]) -> Iterator[str]:
    """A line for each argument that a launcher or a sweeper does not take. Hydra itself sees this only in a sweep."""
    from rnnlab.config.building import locate, parameters

    given = node.keys() - {"_target_", "_recursive_", "_convert_", *OF_OURS.get(part, ())}
    if not given:
        return
    named: Any = locate(node["_target_"], f"hydra.{part}._target_")
    taken = parameters(named)
    if not any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        for name in sorted(given - taken.keys()):
            yield f"hydra.{part}.{name}: {named.__name__} has no such argument.{nearest(name, taken)}"


def of_jobs(hydra: DictConfig) -> Iterator[str]:
    """A line for each key of Hydra that has an effect only with a launcher that starts a job for each run."""
    from hydra.experimental.callback import Callback

    from rnnlab.config.building import locate

    for name, node in (hydra.get("callbacks") or {}).items():
        named: Any = locate(str((node or {}).get("_target_")), f"hydra.callbacks.{name}")
        for hook in ("on_job_start", "on_job_end") if inspect.isclass(named) else ():
            if getattr(named, hook, None) not in (None, getattr(Callback, hook)):
                yield (
                    f"hydra.callbacks.{name}: rnnlab's workers train many runs each and call no {hook}; "
                    "hydra/launcher=basic does"
                )
                break
    for name, value in hydra.job.env_set.items():
        yield (
            f"hydra.job.env_set.{name}: rnnlab's workers have the environment of the command; write "
            f"{name}={quote(str(value))} before it"
        )
