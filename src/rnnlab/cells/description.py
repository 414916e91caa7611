"""What a cell says of itself beside its mathematics, and all cells of this package, found without importing torch.

The config and a sweep's estimates need a cell's name, gates and options long before torch is there (importing it
takes a second). So `CATALOGUE` is read from the text of the files in this folder: a new cell is a new file.
"""

import ast
from pathlib import Path
from typing import Any, Literal, NamedTuple

FOLDER = Path(__file__).parent


class Gate(NamedTuple):
    """One block of H rows in a cell's weights. "candidate" and "forget" are names that others look for."""

    name: str
    symbol: str
    """What the equations call it."""
    squeeze: Literal["sigmoid", "tanh", "relu"]


class Description(NamedTuple):
    """A cell of this package, as its class statement has it."""

    module: str
    class_name: str
    gates: tuple[Gate, ...]
    states: tuple[str, ...]
    options: tuple[str, ...]
    """Keyword-only arguments of its constructor, beside those of every cell."""
    torch_layer: str

    def has_gate(self, name: str) -> bool:
        return any(gate.name == name for gate in self.gates)


def described(text: str, module: str) -> dict[str, Description]:
    """The cells in a module's text by name, the class's in small letters: classes on top of `Cell` or of another."""
    found: dict[str, Description] = {}
    for node in ast.parse(text).body:
        if not isinstance(node, ast.ClassDef):
            continue
        bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
        if not bases & {"Cell", *(of.class_name for of in found.values())}:
            continue
        said: dict[str, Any] = {}
        options: tuple[str, ...] = ()
        for inner in node.body:
            if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Name):
                said[inner.targets[0].id] = inner.value
            if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                options = tuple(argument.arg for argument in inner.args.kwonlyargs)
        gates = getattr(said.get("named_gates"), "elts", ())
        found[node.name.lower()] = Description(
            module=module,
            class_name=node.name,
            gates=tuple(Gate(*(ast.literal_eval(a) for a in gate.args)) for gate in gates),
            states=ast.literal_eval(said["named_states"]) if "named_states" in said else ("h",),
            options=options,
            torch_layer=ast.literal_eval(said["torch_layer"]) if "torch_layer" in said else "",
        )
    return found


CATALOGUE: dict[str, Description] = {
    name: found
    for path in sorted(FOLDER.glob("*.py"))
    if path.stem not in ("__init__", "cell", "choice", "description", "registry")
    for name, found in described(path.read_text(encoding="utf-8"), f"rnnlab.cells.{path.stem}").items()
}


def multiplications(cell: str, input_size: int, hidden_size: int) -> int:
    """Of one step for one sequence, in the products with the weights; a cell of a user's own counts as four gates."""
    gates = len(CATALOGUE[cell].gates) if cell in CATALOGUE else 4
    return gates * hidden_size * (input_size + hidden_size)
