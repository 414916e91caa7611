"""Converts an OmegaConf tree to plain values, with a line for each value that cannot be resolved."""

import re
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from rnnlab.config.dotted import ABSENT
from rnnlab.config.renamed import RENAMED, rename
from rnnlab.config.spelling import near_key


class Resolved(NamedTuple):
    """Plain values, the keys without a value ("???"), the keys that cannot be resolved, and the reasons, a line each.

    The values lack the keys of both lists. Classes that have moved have their new names in the values; `renamed` has
    a line for each.
    """

    values: dict[str, Any]
    missing: list[str]
    unresolved: list[str]
    problems: list[str]
    renamed: list[str]


def resolve(cfg: DictConfig) -> Resolved:
    """Resolves `cfg` without its `hydra` node."""
    missing: list[str] = []
    unresolved: list[str] = []
    problems: list[str] = []

    def walk(node: Any, at: str) -> Any:
        if isinstance(node, ListConfig):
            kept = [read(node, i, f"{at}[{i}]") for i in range(len(node))]
            return [value for value in kept if value is not ABSENT]
        if not isinstance(node, DictConfig):
            return node
        # keys are not turned into text: a callback's own dictionary may have whole numbers as keys
        keys = [key for key in node if at or key != "hydra"]
        read_all = {key: read(node, key, f"{at}.{key!s}" if at else str(key)) for key in keys}
        return {key: value for key, value in read_all.items() if value is not ABSENT}

    def read(node: Any, key: Any, at: str) -> Any:
        if OmegaConf.is_missing(node, key):
            missing.append(at)
            return ABSENT
        try:
            value = node[key]
        except OmegaConfBaseException as error:
            raw = OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]
            why = _why(error, cfg, str(raw))
            if not any(line.endswith(f": {why}") for line in problems):  # reported once, at its first key
                problems.append(f"{at}={raw}: {why}")
            unresolved.append(at)
            return ABSENT
        if OmegaConf.is_interpolation(node, key) and (absent := _absent_of_hydra(node, key)):
            problems.append(f"{at}={absent}: Hydra has no value for it in a run")
            unresolved.append(at)
            return ABSENT
        return walk(value, at)

    values = walk(cfg, "")
    lines = [f"{at}={old}: this class is now called {RENAMED[old]}" for at, old in rename(values).items()]
    return Resolved(values, missing, unresolved, problems, lines)


def _absent_of_hydra(node: Any, key: Any) -> str:
    """The raw text of a value, if it refers to a key that Hydra has not set, such as a job's number; else ""."""
    raw: Any = OmegaConf.to_container(node, resolve=False)
    own: Any = HydraConfig.get() if (paths := OF_HYDRA.findall(str(raw[key]))) else None
    return raw[key] if any(OmegaConf.select(own, path) is None for path in paths) else ""


OF_HYDRA = re.compile(r"\$\{hydra:([\w.]+)\}")


def _why(error: OmegaConfBaseException, cfg: DictConfig, raw: str) -> str:
    text = str(error).splitlines()[0]
    if isinstance(error.__cause__, RecursionError):
        return "it leads back to itself"
    if OF_HYDRA.search(raw):
        return "${hydra:...} has a value only in a single run of `rnnlab train`, not in a sweep or in Python"
    if found := re.search(r"Interpolation key '(.+?)' not found", text):
        return f"there is no key {found[1]}.{near_key(found[1], cfg)}"
    if found := re.search(r"Unsupported interpolation type (\S+)", text):
        return f"there is no resolver {found[1]}"
    if found := re.search(r"Environment variable '(.+?)' not found", text):
        return f"the environment variable {found[1]} is not set"
    if isinstance(error, InterpolationToMissingValueError):
        return f"needs a value that is not given ({text.rsplit(': ', 1)[-1]})"
    return text
