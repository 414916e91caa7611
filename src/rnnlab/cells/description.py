"""The catalogue of this package's cells: names, gates, states and options, found without importing torch.

The config and a sweep's estimates need these before torch is imported, which takes a second. So `CATALOGUE` is read
from the text of the files in this folder: a new cell is a new file.
"""

import ast
from pathlib import Path
from typing import Any, Literal, NamedTuple

FOLDER = Path(__file__).parent


class Gate(NamedTuple):
    """One block of H rows in a cell's weights. Other parts of rnnlab look for the names "candidate" and "forget"."""

    name: str
    symbol: str
    """Its name in the equations."""
    squeeze: Literal["sigmoid", "tanh", "relu", "exp", "linear"]

    @property
    def bounded(self) -> bool:
        return self.squeeze in ("sigmoid", "tanh")


class Option(NamedTuple):
    """A keyword-only argument of a cell's constructor."""

    kind: str
    """Its annotation: "float", "int" or "bool"; "word" for a choice among `words`."""
    default: Any
    words: tuple[str, ...] = ()


class Description(NamedTuple):
    """A cell of this package, as its class statement describes it; the attributes are those of `Cell`."""

    module: str
    class_name: str
    gates: tuple[Gate, ...]
    states: tuple[str, ...]
    options: dict[str, Option]
    """By name; without the options that all cells have."""
    torch_layer: str
    recurrent_gates: int
    own_products: int
    coupled_states: bool

    def has_gate(self, name: str) -> bool:
        return any(gate.name == name for gate in self.gates)


def described(text: str, module: str) -> dict[str, Description]:
    """The cells in a module's text, by the lower-case name of the class: subclasses of `Cell` or of another cell in it.

    A class must itself set each attribute in which it differs from `Cell`: attributes of a parent are not looked up.
    """
    found: dict[str, Description] = {}
    body = ast.parse(text).body
    aliases = {
        node.targets[0].id: node.value
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in body:
        if not isinstance(node, ast.ClassDef):
            continue
        bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
        if not bases & {"Cell", *(of.class_name for of in found.values())}:
            continue
        said: dict[str, Any] = {}
        options: dict[str, Option] = {}
        for inner in node.body:
            if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Name):
                said[inner.targets[0].id] = inner.value
            if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                said[inner.target.id] = inner.value
            if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                given = zip(inner.args.kwonlyargs, inner.args.kw_defaults, strict=True)
                options = {argument.arg: _option(argument, default, aliases) for argument, default in given}
        gates = getattr(said.pop("named_gates", None), "elts", ())
        plain = {
            name: ast.literal_eval(said[name])
            for name in ("named_states", "torch_layer", "recurrent_gates", "own_products", "coupled_states")
            if name in said
        }
        found[node.name.lower()] = Description(
            module=module,
            class_name=node.name,
            gates=tuple(Gate(*(ast.literal_eval(a) for a in gate.args)) for gate in gates),
            states=plain.get("named_states", ("h",)),
            options=options,
            torch_layer=plain.get("torch_layer", ""),
            recurrent_gates=plain.get("recurrent_gates", len(gates)),
            own_products=plain.get("own_products", 0),
            coupled_states=plain.get("coupled_states", False),
        )
    return found


def _option(argument: ast.arg, default: ast.expr | None, aliases: dict[str, ast.expr]) -> Option:
    annotation = argument.annotation
    if isinstance(annotation, ast.Name):
        annotation = aliases.get(annotation.id, annotation)
    value = None if default is None else ast.literal_eval(default)
    if isinstance(annotation, ast.Subscript):  # Literal[...]
        words = ast.literal_eval(annotation.slice)
        return Option("word", value, words if isinstance(words, tuple) else (words,))
    return Option(annotation.id if isinstance(annotation, ast.Name) else "", value)


_found = {
    name: found
    for path in FOLDER.glob("*.py")
    if path.stem not in ("__init__", "cell", "choice", "description", "registry", "size")
    for name, found in described(path.read_text(encoding="utf-8"), f"rnnlab.cells.{path.stem}").items()
}
CATALOGUE: dict[str, Description] = dict(sorted(_found.items()))


def multiplications(cell: str, input_size: int, hidden_size: int) -> int:
    """Multiplications in products with weights, in one step of one sequence; a user's own cell counts as four gates.

    A cell's options have their default values.
    """
    if cell not in CATALOGUE:
        return 4 * hidden_size * (input_size + hidden_size)
    of = CATALOGUE[cell]
    return hidden_size * (len(of.gates) * input_size + (of.recurrent_gates + of.own_products) * hidden_size)
