"""One choice of groups, composed by Hydra once, from which the configs of all its points are made."""

import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rnnlab.config.checking import tell_once
from rnnlab.config.equal import settle
from rnnlab.config.identity import deciding_of
from rnnlab.config.node import Node
from rnnlab.config.reading import Reading, assign, read, shown
from rnnlab.config.resolve import Resolved, resolve
from rnnlab.config.schema import COMPONENTS, between
from rnnlab.sweeps.grid import Point

REFERENCE = re.compile(r"\$\{([^${}:]+)\}")  # ${a.b}, and not ${resolver:...}
RESOLVER = re.compile(r"\$\{([\w.]+):")
CONSTANT_RESOLVERS = {"oc.env", "oc.decode"}  # they read only their arguments


class Template:
    """The composed config of one choice of groups, for points that differ only by plain values.

    A point's config equals what Hydra composes and `check` reads for the same overrides: its values are set,
    interpolations that refer to them are resolved again, and each changed value is validated as `check` does.
    """

    def __init__(self, cfg: DictConfig, keys: Sequence[str]) -> None:
        self.cfg = cfg
        raw: Any = OmegaConf.to_container(cfg, resolve=False)
        self.raw = _flat({k: v for k, v in raw.items() if k not in ("hydra", "sweep")})
        self.keys = {key for key in keys if key in self.raw}
        self.unset = [key for key in keys if key not in self.raw]  # sections, or keys that do not exist
        self.followers = self._followers()
        self.reading: Reading | None = None
        self.equal: str | None = None  # `model.equal` of the first point: in its values it is settled already
        self._typed: dict[tuple[str, Any], tuple[Any, list[str]]] = {}
        self._kept_of: dict[int, dict[str, Any]] = {}  # what decides of the sections that no point changes

    @property
    def values(self) -> dict[str, Any]:
        """The config of its first valid point."""
        assert self.reading is not None, "no point of it has been checked"
        return self.reading.values

    # ------------------------------------------------------------------ the first point, in full

    def check(self, point: Point) -> list[str]:
        """What is wrong with a point's config. The first valid one is read in full, and others are made from it."""
        resolved = self._resolved(point)
        values, missing, unresolved, problems, renamed = resolved
        tell_once(renamed)
        values.pop("sweep", None)
        asked = (values.get("model") or {}).get("equal")
        reading = read(values, missing, unresolved)
        known = {line.split(" is required")[0] for line in reading.problems}
        problems = problems + [f"{k} is required" for k in missing if k not in known] + reading.problems
        if not problems and self.reading is None:
            self.reading, self.equal = reading, asked
        return problems

    def _resolved(self, point: Point) -> Resolved:
        self._set(point)
        return resolve(self.cfg)

    def _set(self, point: Point) -> None:
        for a in point:
            if a.key in self.keys:
                OmegaConf.update(self.cfg, a.key, a.value, merge=True)

    # ------------------------------------------------------------------ the other points, from the first

    def config(self, point: Point) -> tuple[dict[str, Any], list[str]]:
        """A point's checked config, and what is wrong with it. Unchanged sections are those of `values`."""
        reading, values, copied = self.reading, dict(self.values), {""}
        assert reading is not None
        problems: list[str] = []
        nodes: dict[str, Node] = {}
        equal = self.equal
        for path, value in self._changes(point):
            value, lines = self._type(path, value)
            problems += lines
            parent, _, name = path.rpartition(".")
            _section(values, copied, parent)[name] = value
            equal = value if path == "model.equal" else equal
            if parent in reading.nodes:
                node = reading.nodes[parent]
                node.__dict__[name] = value  # typed already
                nodes[parent] = node
        if not problems and equal is not None:
            model = _section(values, copied, "model")
            if why := settle(model, equal):
                problems.append(_line(values | {"model": model | {"equal": equal}}, "model.equal", why))
            reading.nodes["model"].__dict__ |= {key: model[key] for key in ("hidden_size", "equal")}
        if not problems:
            for path, node in nodes.items():
                for key, message in node.problems():
                    problems.append(_line(values, f"{path}.{key}" if path else key, message))
            for key, message in between(reading.sound):
                problems.append(f"{key}: {message}" if key in COMPONENTS else _line(values, key, message))
        return values, problems

    def deciding(self, values: dict[str, Any]) -> dict[str, Any]:
        """`rnnlab.config.deciding` of the last config that was made, without reading it again."""
        assert self.reading is not None
        kept = deciding_of(values, self.reading.nodes, self._kept_of)
        if not self._kept_of:
            same = [k for k, v in values.items() if isinstance(v, dict) and v is self.values.get(k)]
            self._kept_of = {id(self.values[key]): kept.get(key, {}) for key in same}
        return kept

    def _changes(self, point: Point) -> list[tuple[str, Any]]:
        """The paths whose values depend on the plain assignments of a point, with the values."""
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
        """The value as `read` types it, and what is wrong with it."""
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
        # the same as `read` does with each value
        scratch, into = Reading({}), {name: value}
        assign(scratch, parent, type(node), type(node).model_construct(), name, value, into)
        return into[name], scratch.problems

    # ------------------------------------------------------------------ interpolations

    def _followers(self) -> dict[str, str | None]:
        """The leaves that depend on the keys: {path: the key it copies, or None if it must be resolved}."""
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
            return True  # a resolver may read any key
        return any(self._depends(_absolute(ref, path), seen) for ref in REFERENCE.findall(raw))

    def _copied(self, raw: str) -> str | None:
        """The key whose value a leaf copies: ${seed}, perhaps through other leaves."""
        for _ in range(10):
            whole = REFERENCE.fullmatch(raw) if isinstance(raw, str) else None
            if not whole or whole[1].startswith("."):
                return None
            if whole[1] in self.keys:
                return whole[1]
            raw = self.raw.get(whole[1], "")
        return None


def _absolute(reference: str, path: str) -> str:
    """`..b` in `a.c.d` is `a.b`. A bracketed index is dropped: a list is one leaf."""
    reference = re.sub(r"\[(\w+)\]", r".\1", reference)
    dots = len(reference) - len(reference.lstrip("."))
    if not dots:
        return reference
    parents = re.sub(r"\[\d+\]", "", path).split(".")[:-dots]
    return ".".join([*parents, reference.lstrip(".")])


def _flat(tree: Any, at: str = "") -> dict[str, Any]:
    """{dotted path: leaf}; a list is a leaf, and stands for the interpolations in it."""
    if isinstance(tree, dict) and tree:
        flat: dict[str, Any] = {}
        for key, value in tree.items():
            flat.update(_flat(value, f"{at}.{key}" if at else str(key)))
        return flat
    if isinstance(tree, list) and "${" in str(tree):
        return {at: " ".join(re.findall(r"\$\{[^}]*\}+", str(tree)))}
    return {at: tree}


def _section(values: dict[str, Any], copied: set[str], path: str) -> dict[str, Any]:
    """The dictionary at a path. It and those above it are copied once, for they are shared."""
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
