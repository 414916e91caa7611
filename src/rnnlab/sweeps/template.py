"""The config of one choice of groups, composed by Hydra once, as a template for the configs of all its points."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from rnnlab.config.checking import chosen_twice, tell_once
from rnnlab.config.identity import deciding_of
from rnnlab.config.model_schema import RecurrentSchema
from rnnlab.config.node import Node
from rnnlab.config.reading import Reading, assign, read, replace_auto, shown
from rnnlab.config.resolve import Resolved, resolve
from rnnlab.config.run_config import RunConfig
from rnnlab.config.schema import COMPONENTS, across, between
from rnnlab.runs.run_path import Part
from rnnlab.sweeps.grid import Point
from rnnlab.sweeps.interpolations import flat, followers

TOP = ""  # the name for the section of all top-level keys
ACROSS = ("model", "data", "scheduler", "trainer", "callbacks")  # sections that the check `across` compares


@dataclass(slots=True, eq=False)
class Variant:
    """A section of a config with certain values. All points with these values share it."""

    section: str
    values: dict[str, Any]  # top-level keys that it sets in the config; {} for the template's own section
    is_wrong: bool = False
    parts: dict[int | None, Part] = field(
        default_factory=dict
    )  # {seed, or None where it does not matter: Part}
    on: dict[str, "Variant"] = field(default_factory=dict)  # {accelerator: this trainer section with it}


@dataclass
class Section:
    """A section that points change. `of` selects the texts that it depends on, from {key: text}; `paths` are the leaves
    that change.
    """

    name: str
    of: Callable[[dict[str, str]], object]
    paths: list[str]
    made: dict[object, Variant] = field(default_factory=dict)


class Template:
    """The composed config of one choice of groups, for points that differ only in plain values.

    A point's config equals the config that Hydra composes and `check` reads for the same overrides: values are set,
    interpolations that refer to them are resolved again, and each changed value is validated as in `check`. A section
    is made once for all points with the same values in it.
    """

    def __init__(
        self, cfg: DictConfig, keys: Sequence[str], share: Callable[[Any], Any] = lambda section: section
    ) -> None:
        """`share` returns the same object for all equal sections."""
        self.cfg, self.share = cfg, share
        raw: Any = OmegaConf.to_container(cfg, resolve=False)
        self.raw = flat({k: v for k, v in raw.items() if k not in ("hydra", "sweep")})
        self.keys = [key for key in keys if key in self.raw]
        self.unset = [key for key in keys if key not in self.raw]  # sections, or keys that do not exist
        self.followers = followers(self.raw, self.keys)
        self.paths = [*self.keys, *self.followers]
        self.reading: Reading | None = None
        self._typed: dict[tuple[str, object], tuple[Any, list[str]]] = {}
        self._still: dict[str, Variant] = {}  # all sections, in order, with the template's values
        self._moving: list[Section] = []
        self._sound: dict[tuple[object, ...], bool] = {}  # {sections: whether they fit each other}

    @property
    def values(self) -> dict[str, Any]:
        """The config of the first valid point."""
        return self._read.values

    @property
    def _read(self) -> Reading:
        assert self.reading is not None, "no point of it has been checked"
        return self.reading

    # ------------------------------------------------------------------ the first point is read in full

    def check(self, point: Point) -> list[str]:
        """Reads a point's config in full; returns lines about its errors. Keeps the first valid config as template."""
        values, missing, unresolved, problems, renamed = self._resolved(point)
        tell_once(renamed)
        values.pop("sweep", None)
        reading = read(values, missing, unresolved)
        known = {line.split(" is required")[0] for line in reading.problems}
        problems = problems + [f"{k} is required" for k in missing if k not in known] + reading.problems
        problems += chosen_twice([a.text for a in point])
        if not problems and self.reading is None:
            self.reading = reading
            self._divide()
        return problems

    def _divide(self) -> None:
        """Divides the config into sections, and finds the keys that each depends on."""
        depends: dict[str, dict[str, None]] = {}  # {section: keys}
        paths: dict[str, list[str]] = {}
        for path in self.paths:
            above = path.partition(".")[0]
            name = above if above != path and isinstance(self.values.get(above), dict) else TOP
            paths.setdefault(name, []).append(path)
            keys = self.followers[path].keys if path in self.followers else (path,)
            depends.setdefault(name, {}).update(dict.fromkeys(keys))
        self._moving = [Section(name, itemgetter(*depends[name]), paths[name]) for name in paths]
        at_top = paths.get(TOP, [])
        names = [k for k, v in self.values.items() if isinstance(v, dict) and k not in at_top]
        self._still = {name: Variant(name, {}) for name in (TOP, *names)}

    def _resolved(self, point: Point) -> Resolved:
        self._set(point)
        return resolve(self.cfg)

    def _set(self, point: Point) -> None:
        for a in point:
            if a.key in self.keys:
                OmegaConf.update(self.cfg, a.key, a.value, merge=True)

    # ------------------------------------------------------------------ other points are made from the first

    def variants(self, point: Point) -> dict[str, Variant]:
        """{name: section} of a point's config, in the order of the config."""
        texts = {a.key: a.text for a in point}
        found = self._still.copy()
        for section in self._moving:
            depends_on = section.of(texts)
            variant = section.made.get(depends_on)
            if variant is None:
                variant = section.made[depends_on] = self._make(section, point)
            found[section.name] = variant
        return found

    def config(self, variants: dict[str, Variant]) -> RunConfig:
        """A point's checked config. Its sections are shared with `values` and with the variants."""
        values = self.values.copy()
        for variant in variants.values():
            values.update(variant.values)
        return cast(RunConfig, values)

    def on(self, trainer: Variant, accelerator: str) -> Variant:
        """The trainer's section with this accelerator."""
        if accelerator not in trainer.on:
            section = (trainer.values or self.values)["trainer"] | {"accelerator": accelerator}
            trainer.on[accelerator] = Variant("trainer", {"trainer": self.share(section)})
        return trainer.on[accelerator]

    def deciding(self, variant: Variant) -> dict[str, Any]:
        """The part of a section that decides a run's numbers (`rnnlab.config.deciding`)."""
        nodes, values = self._read.nodes, self.values | variant.values
        if variant.section == TOP:
            return deciding_of({k: v for k, v in values.items() if k not in self._still}, nodes)
        below = {path: node for path, node in nodes.items() if path != TOP}
        return deciding_of({variant.section: values[variant.section]}, below)

    def problems(self, point: Point, variants: dict[str, Variant]) -> list[str]:
        """Lines about errors in a point's config."""
        if not any(variant.is_wrong for variant in variants.values()):
            key = (
                *(id(variants[name]) for name in ACROSS if name != "data" and name in variants),
                variants[TOP].values.get("monitor"),
            )
            if key not in self._sound:
                self._assign(self.paths, point, {**self.values})
                self._sound[key] = not any(across(self._read.sound))
            if self._sound[key]:
                return []
        return self._lines(point)

    def _make(self, section: Section, point: Point) -> Variant:
        values = {section.name: self.values[section.name]} if section.name else {}
        touched, lines = self._assign(section.paths, point, values)
        data, model = (self._read.nodes.get(name) for name in ("data", "model"))
        wrong = bool(lines) or any(problem for node in touched.values() for problem in node.problems())
        if section.name == "data" and not wrong and data is not None:
            wrong = any(between({"data": data}))
        if section.name == "model" and not wrong and isinstance(model, RecurrentSchema):
            wrong = replace_auto(model, values["model"]) is not None
        return Variant(section.name, {k: self.share(v) for k, v in values.items()}, wrong)

    def _assign(
        self, paths: Iterable[str], point: Point, values: dict[str, Any]
    ) -> tuple[dict[str, Node], list[str]]:
        """Sets a point's values at some paths, in the schema's nodes and in `values`, whose sections it copies.

        Returns the nodes that it has set, and lines about values that are invalid by themselves.
        """
        given = {a.key: a.value for a in point}
        nodes, touched, copied = self._read.nodes, dict[str, Node](), {TOP}
        problems: list[str] = []
        if any(path in self.followers and self.followers[path].copied is None for path in paths):
            self._set(point)
        if self._read.before_replacing and any(path.startswith("model.") for path in paths):
            touched["model"] = nodes["model"]
            touched["model"].__dict__.update(self._read.before_replacing)
            _section(values, copied, "model").update(self._read.before_replacing)
        for path in paths:
            value, lines = self._type(path, self._value(path, given))
            problems += lines
            parent, _, name = path.rpartition(".")
            into = _section(values, copied, parent)
            into[name] = value
            while parent and parent not in nodes:  # a plain dictionary is one value of the node above it
                parent, _, name = parent.rpartition(".")
                value = _section(values, copied, parent)[name]
            if parent in nodes and name in type(nodes[parent]).model_fields:
                if into is not _section(values, copied, parent):
                    value, lines = self._validated(f"{parent}.{name}", value)
                    problems += lines
                nodes[parent].__dict__[name] = value  # has its type already
                touched[parent] = nodes[parent]
        return touched, problems

    def _value(self, path: str, given: dict[str, Any]) -> Any:
        if path not in self.followers:
            return given[path]
        if (source := self.followers[path].copied) is not None:
            return given[source]
        value = OmegaConf.select(self.cfg, path)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

    def _lines(self, point: Point) -> list[str]:
        """Lines about errors in a point's config, with the messages of `check`."""
        values = self.values.copy()
        touched, lines = self._assign(self.paths, point, values)
        if not lines:
            own = [(f"{path}.{key}" if path else key, message)
                   for path, node in touched.items() for key, message in node.problems()]  # fmt: skip
            found = [*own, *between(self._read.sound)]
            lines = [f"{k}: {why}" if k in COMPONENTS else _line(values, k, why) for k, why in found]
        model = self._read.nodes.get("model")
        if not lines and "model" in touched and isinstance(model, RecurrentSchema):
            asked = values["model"].copy()
            if why := replace_auto(model, values["model"]):
                lines = [_line({"model": asked}, "model.equal", why)]
        return lines

    def _type(self, path: str, value: Any) -> tuple[Any, list[str]]:
        """The value with the type that `read` gives it, and lines about its errors."""
        if isinstance(value, list | dict):
            return self._validated(path, value.copy())
        memo = (path, (type(value), repr(value)))  # 0.0 == -0.0
        if memo not in self._typed:
            self._typed[memo] = self._validated(path, value)
        return self._typed[memo]

    def _validated(self, path: str, value: Any) -> tuple[Any, list[str]]:
        parent, _, name = path.rpartition(".")
        node = self._read.nodes.get(parent)
        if node is None or name not in type(node).model_fields:
            return value, []
        # as `read` does for each value
        scratch, into = Reading({}), {name: value}
        assign(scratch, parent, type(node), type(node).model_construct(), name, value, into)
        return into[name], scratch.problems


def _section(values: dict[str, Any], copied: set[str], path: str) -> dict[str, Any]:
    """The dictionary at a path. It and those above it are copied once, because they are shared."""
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
