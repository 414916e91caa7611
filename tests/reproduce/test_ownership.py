"""`resume=RUN` of runs that name code: the user's own goes on, a stranger's is not even imported."""

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from rnnlab import UserError
from rnnlab.runs.yaml import to_yaml

CELL = """
from torch import tanh
from rnnlab import Cell

class Own(Cell):
    def step(self, u, state):
        h = tanh(u + self.recur(state[0]))
        return h, (h,)
"""
EVIL = "from pathlib import Path\nPath('BOOM').touch()\nclass Trap: ...\n"


@pytest.fixture
def own(small, tmp_path, monkeypatch):
    """A finished run with a cell of the user's own, and the file of that cell."""
    file = tmp_path / "code" / "own_cells_of_a_test.py"
    file.parent.mkdir()
    file.write_text(CELL)
    monkeypatch.syspath_prepend(file.parent)
    monkeypatch.delitem(sys.modules, file.stem, raising=False)
    monkeypatch.chdir(tmp_path)
    options = ("model.cell=own_cells_of_a_test.Own", "model.engine=auto", "scheduler=constant")
    return small(*options, outputs=tmp_path / "outputs"), file


def longer(small, run, *more: str):
    outputs = run.folder.parents[1]
    return small(f"resume={run.folder}", "trainer.max_epochs=5", *more, base=(), outputs=outputs)


def forged(run, target: str, source: bytes) -> None:
    """The run's folder says that its callback's module was the user's."""
    config = run.config | {"callbacks": {"trap": {"_target_": target}}}
    (run.folder / "config.yaml").write_text(to_yaml(config))
    run.__dict__.pop("config", None)
    manifest = run.manifest
    manifest["sources"][target.rpartition(".")[0]] = hashlib.sha256(source).hexdigest()
    run.manifest_file.write_text(json.dumps(manifest))


def test_the_users_own_cell_goes_on_and_when_it_has_changed_must_be_named(small, own, capsys):
    run, file = own
    assert longer(small, run).status == "finished"
    file.write_text(CELL + "# as before\n")
    with pytest.raises(
        UserError, match=r"own_cells_of_a_test\.Own, code outside rnnlab's list; if it is yours"
    ):
        longer(small, run, "rerun=true")
    capsys.readouterr()
    again = longer(small, run, "rerun=true", "model.cell=own_cells_of_a_test.Own")
    assert again.status == "finished"


def test_what_everybody_has_is_nobodys_own(small, own):
    run, _ = own
    forged(run, "os.system", Path(os.__file__).read_bytes())
    with pytest.raises(UserError, match=r"callbacks\.trap=os\.system\(\), code outside rnnlab"):
        longer(small, run)


def test_what_lies_in_another_runs_folder_is_a_strangers(small, own, tmp_path, monkeypatch):
    run, _ = own
    other = tmp_path / "downloads" / "run"
    other.mkdir(parents=True)
    (other / "run.json").write_text("{}")
    (other / "trap_of_a_test.py").write_text(EVIL)
    monkeypatch.chdir(other)
    forged(run, "trap_of_a_test.Trap", EVIL.encode())
    with pytest.raises(UserError, match=r"trap_of_a_test\.Trap\(\), code outside rnnlab"):
        longer(small, run)
    assert not (other / "BOOM").exists()


@pytest.mark.parametrize("package", [True, False])
def test_what_lies_among_the_outputs_is_a_strangers(small, own, tmp_path, package, monkeypatch):
    run, _ = own
    place = run.folder.parent / "evil.py" if package else tmp_path / "loose" / "evil.py"
    place.parent.mkdir(exist_ok=True)
    place.write_text(EVIL)
    if package:  # as if it were one that Python imports
        for folder in (run.folder.parent, run.folder.parents[1]):
            (folder / "__init__.py").touch()
    target = ".".join(place.relative_to(tmp_path).with_suffix("").parts) + ".Trap"
    monkeypatch.syspath_prepend(tmp_path)
    forged(run, target, place.read_bytes())
    with pytest.raises(UserError, match=r"evil\.Trap\(\), code outside rnnlab"):
        longer(small, run)
    assert not (tmp_path / "BOOM").exists()
