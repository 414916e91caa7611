"""Training again: a sample as one sweep, from an archive, from another folder, and with code of the user's own."""

import json
import shutil
import sys
import zipfile

import pytest
from test_kills import RUN

import rnnlab
from rnnlab.cli import main
from rnnlab.reproduce import sample

MINE = """
from torch import tanh
from rnnlab import Cell
from rnnlab.data import Sine

class Own(Cell):
    def step(self, u, state):
        h = tanh(u + self.recur(state[0]))
        return h, (h,)

class Wave(Sine):
    pass
"""


@pytest.fixture
def conducted(monkeypatch):
    """How many runs each sweep was given."""
    from rnnlab.sweeps.scheduler import Scheduler

    seen, run = [], Scheduler.run

    def counted(self, due, *args, **kwargs):
        seen.append(len(due))
        return run(self, due, *args, **kwargs)

    monkeypatch.setattr(Scheduler, "run", counted)
    return seen


def test_a_sample_of_an_archive_is_one_sweep_from_another_folder(
    seeds, conducted, tmp_path, capsys, monkeypatch
):
    experiment, file = tmp_path / "sine", tmp_path / "paper.zip"
    shutil.copytree(seeds[0].folder.parent, experiment)
    touched = sample.draw(experiment, 3, 0)[1]  # by somebody, in its last digits
    lines = touched.metrics_file.read_text().splitlines()
    step, name, value = lines[1].split(",")
    lines[1] = f"{step},{name},{float(value) * (1 + 1e-9)!r}"
    touched.metrics_file.write_text("\n".join(lines) + "\n")
    assert main(["archive", str(experiment), "--out", str(file)]) == 0
    names = zipfile.ZipFile(file).namelist()
    assert "README.md" in names and "leaderboard.csv" in names
    assert len([n for n in names if n.endswith("best.ckpt")]) == len(seeds)
    away = tmp_path / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    capsys.readouterr()
    # the code is that of the worst verdict
    assert main(["reproduce", str(file), "--sample", "3", "--into", "kept", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert [entry["verdict"] for entry in found] == ["bitwise", "numeric", "bitwise"]
    assert f"the curves part at step {step} ({name})" in found[1]["why"][0]
    assert conducted == [3]
    kept = {run.folder.name for run in rnnlab.runs(away / "kept")}
    assert len(kept) == 3 and kept < {run.folder.name for run in seeds}
    assert main(["reproduce", str(file), "--sample", "1", "--seed", "1"]) == 0  # one alone needs no workers
    assert capsys.readouterr().out.startswith("bitwise") and conducted == [3]
    name = seeds[2].folder.name
    assert main(["reproduce", f"{file}/{name}"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"bitwise      {file}/{name}"
    assert main(["reproduce", f"{file}/{name[:-1]}"]) == 2
    assert f"the archive holds no such run. Did you mean {name}?" in capsys.readouterr().err
    assert [p.name for p in away.iterdir()] == ["kept"]


def test_a_sample_is_trained_again_where_an_earlier_one_is_kept(seeds, tmp_path):
    for run in seeds[:2]:
        shutil.copytree(run.folder, tmp_path / "sine" / run.folder.name)
    words = ["reproduce", str(tmp_path / "sine"), "--sample", "2", "--into", str(tmp_path / "kept")]
    assert main(words) == 0
    for run in rnnlab.runs(tmp_path / "kept"):
        run.metrics_file.write_text("step,metric,value\n")
    assert main(words) == 0


def test_the_same_runs_give_the_same_archive(seeds, tmp_path):
    for name in ("a.zip", "b.zip"):
        (tmp_path / name).mkdir()
        assert main(["archive", str(seeds[0].folder.parent), "--out", str(tmp_path / name / "x.zip")]) == 0
    assert (tmp_path / "a.zip" / "x.zip").read_bytes() == (tmp_path / "b.zip" / "x.zip").read_bytes()


def test_a_single_run_is_no_experiment(tmp_path, capsys):
    run = tmp_path / "sine" / "seed-0"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    assert main(["archive", str(run), "--out", str(tmp_path / "a.zip")]) == 2
    assert f"archive takes its experiment: {run.parent}" in capsys.readouterr().err
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    "own", [["model.cell=mine_of_a_test.Own", "model.engine=auto"], ["data._target_=mine_of_a_test.Wave"]],
    ids=["cell", "data"],
)  # fmt: skip
def test_code_of_the_users_own_takes_trust_where_it_has_changed(own, tmp_path, capsys, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine_of_a_test.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.delitem(sys.modules, "mine_of_a_test", raising=False)
    kept = [o for o in RUN if o.split("=")[0] not in [x.split("=")[0] for x in own]]
    run = rnnlab.train(*kept, *own, f"paths.outputs={tmp_path / 'outputs'}")
    elsewhere = tmp_path / "elsewhere" / "outputs" / run.folder.name
    shutil.copytree(run.folder, elsewhere)
    capsys.readouterr()
    assert main(["reproduce", str(run.folder), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "bitwise" and found["differs"] == {}
    (tmp_path / "code" / "mine_of_a_test.py").write_text(MINE + "# as before\n")
    assert main(["reproduce", str(elsewhere)]) == 2
    said = capsys.readouterr().err
    assert (
        f"={own[0].partition('=')[2]}" in said and "code outside rnnlab's list" in said and "--trust" in said
    )
    assert main(["reproduce", str(elsewhere), "--trust", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "bitwise" and list(found["differs"]) == ["code"]


def test_the_recorded_number_of_threads_is_used(tmp_path, capsys):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        free = [o for o in RUN if not o.startswith("trainer.threads")]
        run = rnnlab.train(*free, f"paths.outputs={tmp_path / 'a'}")
        torch.set_num_threads(2)
        assert main(["reproduce", str(run.folder), "--into", str(tmp_path / "b")]) == 0
        (again,) = rnnlab.runs(tmp_path / "b")
        assert (
            run.manifest["threads"] == again.manifest["threads"] and again.manifest["threads"]["torch"] == 1
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_run_of_the_working_folder_leaves_what_else_is_kept(copied, tmp_path, monkeypatch):
    (tmp_path / "kept" / "earlier").mkdir(parents=True)
    monkeypatch.chdir(copied.folder)
    assert main(["reproduce", ".", "--into", str(tmp_path / "kept")]) == 0
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"earlier", copied.folder.name}


def test_a_sample_is_drawn_from_several_runs(copied, capsys):
    for number, said in (
        ("0", "--sample 0: must be at least 1"),
        ("1", f"{copied.folder} is one run: leave it out"),
    ):
        assert main(["reproduce", str(copied.folder), "--sample", number]) == 2
        assert said in capsys.readouterr().err


def test_a_link_to_a_run_is_not_replaced_by_the_run_again(copied, tmp_path, capsys):
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "run"
    link.symlink_to(copied.folder)
    assert main(["reproduce", str(link), "--into", str(link.parent)]) == 2
    assert "take another folder" in capsys.readouterr().err and copied.is_there


@pytest.mark.parametrize("file", ["metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"])
def test_what_cannot_be_compared_is_refused_before_the_training(file, seeds, tmp_path, capsys, monkeypatch):
    for run in seeds[:2]:
        shutil.copytree(run.folder, tmp_path / "sine" / run.folder.name)
    bad = tmp_path / "sine" / seeds[1].folder.name / file
    bad.write_bytes(b"no such file\n")
    monkeypatch.setattr("rnnlab.sweeps.forkserver.ForkServer", None)
    assert main(["reproduce", str(tmp_path / "sine"), "--sample", "2"]) == 2
    assert str(bad) in capsys.readouterr().err
