"""Private names of other packages: each is listed with what it is for, and the installed versions have it."""

import ast
from pathlib import Path

from rnnlab import private_names

SOURCES = Path(private_names.__file__).parents[1]
PUBLIC = {"_exit", "_replace", "_asdict", "_fields"}  # documented, for all their underscores


def private_uses() -> set[str]:
    """Names with an underscore that rnnlab uses and nowhere defines, and what it imports from private places."""
    trees = {path: ast.parse(path.read_text()) for path in SOURCES.rglob("*.py")}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    own = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")}  # fmt: skip
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    found = {node.attr for node in nodes if isinstance(node, ast.Attribute)
             and node.attr.startswith("_") and not node.attr.startswith("__")}  # fmt: skip
    found = found - own - PUBLIC
    for node in nodes:
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and not node.module.startswith(("rnnlab", "__future__"))
        ):
            private = any(part.startswith("_") for part in node.module.split("."))
            found |= {alias.name for alias in node.names if private or alias.name.startswith("_")}
    return found


def test_each_private_name_is_listed_and_each_listed_one_is_used():
    listed = {where.rpartition(":")[2].rpartition(".")[2] for where in private_names.NAMES}
    # by their text, or set in a class
    kept = {
        "_last_global_step_saved",
        "_last_checkpoint_saved",
        "_defer_save_until_validation",
        "_jit_is_scripting",
    }
    by_another = {"_initial_step": {"_opt_called", "_step_count"}}
    for name, names in by_another.items():
        listed = (listed - {name}) | names
    assert private_uses() == listed - kept


def test_the_installed_versions_have_them():
    assert private_names.missing() == []


def test_one_that_is_gone_is_named_with_what_it_is_for(monkeypatch):
    monkeypatch.setitem(private_names.NAMES, "lightning.pytorch:Trainer()._gone", "to see what is said")
    assert private_names.missing() == ["lightning.pytorch:Trainer()._gone (to see what is said)"]
