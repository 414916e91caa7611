"""One choice of groups, composed by Hydra once, from which the configs of all its points are made."""

import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rnnlab.config.checking import tell_once
from rnnlab.config.identity import _kept
from rnnlab.config.node import Node
from rnnlab.config.reading import Reading, assign, read, shown
from rnnlab.config.resolve import Resolved, resolve
from rnnlab.config.schema import COMPONENTS, between
from rnnlab.sweeps.grid import Point

REFERENCE = re.compile(r"\$\{([^${}:]+)\}")  # ${a.b}, and not ${resolver:...}
RESOLVER = re.compile(r"\$\{([\w.]+):")
CONSTANT_RESOLVERS = {"oc.env", "oc.decode"}  # they read nothing of the config but what they are given


class Template:
    """The composed config and what follows from it, for points that differ by plain values only.

    A point's config equals what Hydra composes and `check` reads for the same overrides: its values are set,
    what refers to them is resolved again, and what changed is validated as `check` does.
    """

    def __init__(self, cfg: DictConfig, keys: Sequence[str]) -> None:
        self.cfg = cfg
        raw: Any = OmegaConf.to_container(cfg, resolve=False)
        self.raw = _flat({k: v for k, v in raw.items() if k not in ("hydra", "sweep")})
        self.keys = {key for key in keys if key in self.raw}
        self.unset = [key for key in keys if key not in self.raw]  # sections, or not there at all
        self.followers = self._followers()
        self.reading: Reading | None = None
        self._typed: dict[tuple[str, Any], tuple[Any, list[str]]] = {}

    # ------------------------------------------------------------------ in full, as for a single run

    def check(self, point: Point) -> list[str]:
        """Reads the whole config of a point; [] where it is right. The first right one is the model for others."""
        resolved = self._resolved(point)
        values, missing, unresolved, problems, renamed = resolved
        tell_once(renamed)
        values.pop("sweep", None)
        reading = read(values, missing, unresolved)
        said = {line.split(" is required")[0] for line in reading.problems}
        problems = problems + [f"{k} is required" for k in missing if k not in said] + reading.problems
        if not problems and self.reading is None:
            self.reading = reading
        return problems

    def _resolved(self, point: Point) -> Resolved:
        self._set(point)
        return resolve(self.cfg)

    def _set(self, point: Point) -> None:
        for a in point:
            if a.key in self.keys:
                OmegaConf.update(self.cfg, a.key, a.value, merge=True)

    # ------------------------------------------------------------------ by the model

    def config(self, point: Point) -> tuple[dict[str, Any], list[str]]:
        """A point's checked config, and what is wrong with it; sections that do not change are shared."""
        reading = self.reading
        assert reading is not None
        values, copied = dict(reading.values), {""}
        problems: list[str] = []
        nodes: dict[str, Node] = {}
        for path, value in self._changes(point):
            value, lines = self._type(path, value)
            problems += lines
            parent, _, name = path.rpartition(".")
            _place(values, copied, parent)[name] = value
            if parent in reading.nodes:
                node = reading.nodes[parent]
                node.__dict__[name] = value  # typed already
                nodes[parent] = node
        if not problems:
            for path, node in nodes.items():
                for key, message in node.problems():
                    problems.append(_line(values, f"{path}.{key}" if path else key, message))
            for key, message in between(reading.sound):
                problems.append(f"{key}: {message}" if key in COMPONENTS else _line(values, key, message))
        return values, problems

    def deciding(self, values: dict[str, Any]) -> dict[str, Any]:
        """`rnnlab.config.deciding` of the config made last, which need not be read once more."""
        assert self.reading is not None
        return _kept(values, self.reading.nodes, "")

    def _changes(self, point: Point) -> list[tuple[str, Any]]:
        """Every path whose value the plain assignments of a point decide, and the value."""
        given = {a.key: a.value for a in point if a.key in self.keys}
        changes = list(given.items())
        dynamic = [path for path, source in self.followers.items() if source is None]
        if dynamic:
            self._set(point)
        for path, source in self.followers.items():
            value = OmegaConf.select(self.cfg, path) if source is None else given[source]
            changes.append(
                (path, OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value)
            )
        return changes

    def _type(self, path: str, value: Any) -> tuple[Any, list[str]]:
        """The value as `read` types it, and its complaints."""
        if isinstance(value, list):
            return self._validated(path, list(value))
        memo = (path, (type(value), value))
        if memo not in self._typed:
            self._typed[memo] = self._validated(path, value)
        return self._typed[memo]

    def _validated(self, path: str, value: Any) -> tuple[Any, list[str]]:
        assert self.reading is not None
        parent, _, name = path.rpartition(".")
        node = self.reading.nodes.get(parent)
        if node is None or name not in type(node).model_fields:
            return value, []
        # `_node` gives the top level of the config the same treatment
        scratch, into = Reading({}), {name: value}
        assign(scratch, parent, type(node), type(node).model_construct(), name, value, into)
        return into[name], scratch.problems

    # ------------------------------------------------------------------ who follows whom

    def _followers(self) -> dict[str, str | None]:
        """The leaves that depend on the keys: {path: the key it copies, or None where more is to be done}."""
        found: dict[str, str | None] = {}
        for path, raw in self.raw.items():
            if path in self.keys or not self._depends(path, set()):
                continue
            found[path] = self._copied(raw)
        return found

    def _depends(self, path: str, seen: set[str]) -> bool:
        if path in seen:
            return False
        seen.add(path)
        if path in self.keys:
            return True
        raw = self.raw.get(path)
        if not isinstance(raw, str) or "${" not in raw:
            # a reference to a whole section depends on all that is in it
            return raw is None and any(
                self._depends(p, seen) for p in self.raw if p.startswith((f"{path}.", f"{path}["))
            )
        if set(RESOLVER.findall(raw)) - CONSTANT_RESOLVERS:
            return True  # a resolver may read whatever it likes
        return any(self._depends(_absolute(ref, path), seen) for ref in REFERENCE.findall(raw))

    def _copied(self, raw: str) -> str | None:
        """The key whose value a leaf takes as it is: ${seed}, also by way of others."""
        for _ in range(10):
            whole = REFERENCE.fullmatch(raw) if isinstance(raw, str) else None
            if not whole or whole[1].startswith("."):
                return None
            if whole[1] in self.keys:
                return whole[1]
            raw = self.raw.get(whole[1], "")
        return None


def _absolute(reference: str, path: str) -> str:
    """`..b` seen from `a.c.d` is `a.b`; a bracketed index becomes part of the list, which is a leaf."""
    reference = re.sub(r"\[(\w+)\]", r".\1", reference)
    dots = len(reference) - len(reference.lstrip("."))
    if not dots:
        return reference
    parents = re.sub(r"\[\d+\]", "", path).split(".")[:-dots]
    return ".".join([*parents, reference.lstrip(".")])


def _flat(tree: Any, at: str = "") -> dict[str, Any]:
    """{dotted path: leaf}; lists are leaves, unless something in them refers elsewhere."""
    if isinstance(tree, dict) and tree:
        flat: dict[str, Any] = {}
        for key, value in tree.items():
            flat.update(_flat(value, f"{at}.{key}" if at else str(key)))
        return flat
    if isinstance(tree, list) and "${" in str(tree):
        return {at: " ".join(re.findall(r"\$\{[^}]*\}+", str(tree)))}
    return {at: tree}


def _place(values: dict[str, Any], copied: set[str], path: str) -> dict[str, Any]:
    """The dictionary at a path, copied on the way there, once."""
    node, at = values, ""
    for key in path.split(".") if path else ():
        at = f"{at}.{key}" if at else key
        if at not in copied:
            node[key] = dict(node[key])
            copied.add(at)
        node = node[key]
    return node


def _line(values: dict[str, Any], path: str, message: str) -> str:
    value: Any = values
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return f"{path}={shown(value)}: {message}"
