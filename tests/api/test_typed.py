"""What editors and type checkers see of `import rnnlab`, whose names are imported only at their first use.

mypy checks this file, too (see pyproject.toml): `as_a_type_checker_sees_it` fails there, not here.
"""

import ast
from pathlib import Path

from typing_extensions import assert_type

import rnnlab
from rnnlab.api.run import Run, Runs


def test_every_name_is_also_imported_for_type_checkers() -> None:
    tree = ast.parse(Path(rnnlab.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    named = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert named == set(rnnlab._PLACES) and named <= set(dir(rnnlab))
    assert (Path(rnnlab.__file__).parent / "py.typed").is_file()


def as_a_type_checker_sees_it() -> None:
    run = rnnlab.train("experiment=sine", "seed=3")
    assert_type(run, Run)
    assert_type(run.evaluate().metrics["mse"], float)
    assert_type(rnnlab.sweep("seed=0,1"), Runs)
    assert_type(rnnlab.runs("outputs/sine").best, Run)
    rnnlab.train(cell=3)  # type: ignore[arg-type]
    rnnlab.train(module="net")  # type: ignore[arg-type]
