"""A stopped run whose folder somebody filled with links: it is read through them, and never written."""

import json
import os
import shutil
from pathlib import Path

import pytest

import rnnlab
from rnnlab.cli import main
from rnnlab.runs.trials import JOURNAL, append


@pytest.fixture
def planted(seeds, tmp_path):
    """The folder of a stopped run where one's own command finds it, and what must not be touched."""
    folder = tmp_path / "outputs" / "sine" / seeds[0].folder.name
    shutil.copytree(seeds[0].folder, folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"status": "stopped"}))
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "thesis.txt").write_text("years of work")
    yield rnnlab.Run(folder)
    assert [file.name for file in victim.iterdir()] == ["thesis.txt"]
    assert (victim / "thesis.txt").read_text() == "years of work"


def own_command(asked, run, *more: str) -> int:
    return main(["train", *asked, "seed=0", f"paths.outputs={run.folder.parents[1]}", *more])


def resumed(asked, run) -> int:
    try:
        rnnlab.load(run.folder).resume(quiet=True)
    except rnnlab.UserError as error:
        print(error)
        return 2
    return 0


def content(place: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in (place, *place.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("again", [own_command, resumed])
@pytest.mark.parametrize(
    "name", ["metrics.csv", "events.out.tfevents.0.rnnlab", "figures", "checkpoints", "csv/x"]
)
def test_a_link_out_of_the_folder_is_not_written_through(name, again, planted, asked, capsys):
    place, outside = planted.folder / name, planted.folder.parents[2]
    there = outside / "victim" if name == "figures" else outside / "victim" / "thesis.txt"
    if place.exists():  # so that the run could go on
        there = place.rename(outside / "elsewhere")
    place.parent.mkdir(exist_ok=True)
    before = content(there)
    place.symlink_to(there)
    assert again(asked, planted) == 2
    said = "".join(capsys.readouterr()).strip()
    assert f"{place} is a link out of the run's folder, which the training would write to" in said
    assert content(there) == before
    assert own_command(asked, planted, "rerun=true") == 0  # removes the link and not what it leads to
    assert not place.is_symlink() and there.exists()


@pytest.mark.parametrize("again", [own_command, resumed])
def test_a_checkpoint_that_is_a_link_is_read_and_replaced(again, planted, asked, tmp_path, seeds):
    """On another disk, say."""
    last = tmp_path / "last.ckpt"
    planted.last_checkpoint.rename(last)
    planted.last_checkpoint.symlink_to(last)
    planted.best_checkpoint.unlink()
    planted.best_checkpoint.symlink_to(tmp_path / "victim" / "thesis.txt")
    before = last.read_bytes()
    assert again(asked, planted) == 0 and last.read_bytes() == before
    assert planted.metrics_file.read_bytes() == seeds[0].metrics_file.read_bytes()


def test_the_whole_folder_may_be_a_link(planted, asked, tmp_path, seeds):
    elsewhere = tmp_path / "disk"
    planted.folder.rename(elsewhere)
    planted.folder.symlink_to(elsewhere)
    assert own_command(asked, planted) == 0
    assert (elsewhere / "metrics.csv").read_bytes() == seeds[0].metrics_file.read_bytes()


@pytest.mark.parametrize("again", [own_command, resumed])
@pytest.mark.parametrize("name", ["file", "folder"])
def test_a_lock_is_not_written_through_a_link(name, again, planted, asked, tmp_path, capsys):
    """The lock lies beside the run's folder, and is emptied when it is taken."""
    claims = planted.folder.parent / ".claims"
    if name == "file":
        claims.mkdir()
        (claims / planted.folder.name).symlink_to(tmp_path / "victim" / "thesis.txt")
    else:
        (tmp_path / "claimed").mkdir()
        (tmp_path / "claimed" / planted.folder.name).write_text("years of work")
        claims.symlink_to(tmp_path / "claimed")
    assert again(asked, planted) == 2
    assert "is a link, through which no lock is written" in "".join(capsys.readouterr())
    if name == "folder":
        assert (tmp_path / "claimed" / planted.folder.name).read_text() == "years of work"


@pytest.mark.parametrize("again", [own_command, resumed])
@pytest.mark.parametrize("name", ["metrics.csv", "events.out.tfevents.0.rnnlab", "checkpoints/last.ckpt"])
def test_a_hard_link_is_parted_from_the_other_file(name, again, planted, asked, tmp_path, seeds):
    """A backup by `cp -al`, say: going on with the run cuts its growing files, and leaves the backup's as they are."""
    place = planted.folder / name
    if name != "checkpoints/last.ckpt":
        with place.open("ab") as file:
            file.write(b"written after the last checkpoint")
    os.link(place, tmp_path / "backup")
    before = place.read_bytes()
    assert again(asked, planted) == 0
    assert (tmp_path / "backup").read_bytes() == before
    assert planted.metrics_file.read_bytes() == seeds[0].metrics_file.read_bytes()


def test_nor_does_a_lock_overwrite_a_file_of_which_it_is_another_name(planted, asked, tmp_path):
    claims = planted.folder.parent / ".claims"
    claims.mkdir()
    os.link(tmp_path / "victim" / "thesis.txt", claims / planted.folder.name)
    assert own_command(asked, planted) == 0


def test_nor_does_an_export_a_table_a_picture_or_a_journal(planted, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for name in ("export/torch/README.md", "export/torch/model.py", "figures/free-run-5.csv",
                 "figures/free-run-5.png", "figures/forecast.png", JOURNAL):  # fmt: skip
        place = planted.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        os.link(tmp_path / "thesis.txt", place)
    assert main(["export", str(planted.folder), "--to", "torch"]) == 0
    assert main(["forecast", str(planted.folder), "--horizon", "5"]) == 0
    planted.draw()
    append(planted.folder / JOURNAL, {"trial": 1})
    for name in ("export/torch/README.md", "figures/free-run-5.csv", "figures/forecast.png", JOURNAL):
        assert (planted.folder / name).read_bytes() != b"years of work"
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_nor_is_a_searchs_journal(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / JOURNAL).symlink_to(tmp_path / "thesis.txt")
    with pytest.raises(rnnlab.UserError, match="is a link, through which no journal is written"):
        append(tmp_path / JOURNAL, {"trial": 1})
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
