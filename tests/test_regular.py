"""What is no file is refused in a line wherever a path is read, and at once: nobody waits for a pipe."""

import os
import shutil
import socket
from pathlib import Path

import pytest

import rnnlab
from rnnlab import memory
from rnnlab.cli import main
from rnnlab.errors import UserError
from rnnlab.regular_files import open_file, read_file


def irregular(kind: str, place: Path) -> Path:
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(os.path.relpath(place))
    else:
        place.symlink_to({"device": "/dev/zero", "endless": "/proc/kcore"}[kind])
    return place


@pytest.mark.parametrize(("kind", "says"), [("device", "is a device"), ("pipe", "is a pipe")])
def test_what_is_no_file(kind, says, tmp_path):
    with pytest.raises(OSError, match=says):
        open_file(irregular(kind, tmp_path / "x"))
    with pytest.raises(IsADirectoryError):
        open_file(tmp_path)


def test_no_more_than_a_file_says_that_it_has(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert read_file(tmp_path / "x") == b"abc"
    if Path("/proc/self/cmdline").exists():
        assert read_file("/proc/self/cmdline") == b""  # says that it is empty
    with pytest.raises(UserError, match=r"would take about .* of memory, and .* is free"):
        with (tmp_path / "hole").open("wb") as file:
            file.truncate(10**13)
        read_file(tmp_path / "hole")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> rnnlab.Run:
    options = ("experiment=sine", "model.hidden_size=4", "data.n_points=200", "trainer.max_epochs=1", "callbacks=none",
               "trainer.accelerator=cpu", "model.engine=torch")  # fmt: skip
    return rnnlab.train(*options, f"paths.outputs={tmp_path_factory.mktemp('outputs')}")


FILES = ("config.yaml", "manifest.json", "metrics.csv", "overrides.yaml", "checkpoints/best.ckpt", "run.json")


@pytest.mark.parametrize("kind", ["device", "pipe"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_run_that_is_none(kind, name, run, tmp_path, capsys):
    """Every command over it ends, with lines at most."""
    experiment = tmp_path / "exp"
    for copy in ("good", "bad"):
        shutil.copytree(run.folder, experiment / copy)
    (experiment / "bad" / name).unlink()
    irregular(kind, experiment / "bad" / name)
    bad, good = str(experiment / "bad"), str(experiment / "good")
    for argv in (["report", bad], ["report", str(experiment)], ["diff", good, bad], ["evaluate", bad],
                 ["reproduce", bad], ["archive", str(experiment), "--out", str(tmp_path / "x.zip")]):  # fmt: skip
        code = main(argv)
        said = capsys.readouterr().err
        assert "Traceback" not in said and code in (0, 2, 3), (argv, said)
    assert main(["report", str(experiment), "--html", str(tmp_path / "page.html")]) == 0


@pytest.mark.parametrize("kind", ["device", "pipe", "endless"])
def test_data_that_are_no_file(kind, run, tmp_path, capsys):
    if kind == "endless" and not os.access("/proc/kcore", os.R_OK):
        pytest.skip("no /proc/kcore to read")
    path = irregular(kind, tmp_path / "x")
    common = ("trainer.accelerator=cpu", f"paths.outputs={tmp_path}")
    for argv in (["train", "data=series", f"data.path={path}", "data.target=y", *common],
                 ["train", "data=chars", f"data.path={path}", *common],
                 ["train", "experiment=sine", f"model.init_from={path}", *common]):  # fmt: skip
        assert main(argv) == 2
        said = capsys.readouterr().err.strip()
        assert len(said.splitlines()) == 1 and str(path) in said, said
    from rnnlab.data import Chars, Series

    for data in (Series(path, "y"), Chars(path=str(path))):  # as a stranger's config names it, unchecked
        with pytest.raises(UserError, match=r"x: .*(device|pipe|memory)"):
            data.setup()


def test_a_link_out_of_the_folder_is_not_in_its_page(run, tmp_path):
    from rnnlab.report.run_page import run_page

    secret = "tooth"[::-1] * 3  # no word of this file, whose own changes may stand in the page
    copy = rnnlab.Run(Path(shutil.copytree(run.folder, tmp_path / "copy")))
    (tmp_path / "secret").write_text(secret)
    copy.samples.mkdir()
    copy.figures.mkdir(exist_ok=True)
    (copy.samples / "a.txt").symlink_to(tmp_path / "secret")
    (copy.samples / "b.txt").write_text("the run's own")
    os.mkfifo(copy.figures / "c.png")
    page = run_page(copy)
    assert secret not in page and "the run&#x27;s own" in page
    assert "a.txt is left out" in page and "c.png is left out" in page


ASKED = {
    "points": ["data.n_points=10000000000"],
    "horizon": ["data.n_points=3000000", "data.horizon=100000"],
    "hidden": ["model.hidden_size=10000000"],
    "layers": ["model.hidden_size=10000", "model.num_layers=100000"],
    "sequences": ["data=tokens", "model=classifier", "data.n_sequences=10000000000"],
    "embedding": ["data=tokens", "model=classifier", "model.embedding_size=10000000000"],
}  # fmt: skip


@pytest.mark.parametrize("kind", ASKED)
def test_what_memory_cannot_hold(kind, tmp_path, capsys):
    asked = ["train", "experiment=sine" if "data=tokens" not in ASKED[kind] else "name=x", *ASKED[kind]]
    assert main([*asked, "trainer.accelerator=cpu", f"paths.outputs={tmp_path}"]) == 2
    said = capsys.readouterr().err.strip()
    assert (
        len(said.splitlines()) == 1 and "of memory, and" in said and ASKED[kind][-1].partition("=")[2] in said
    ), said
    assert not list(tmp_path.glob("*/*/run.json"))


def test_a_forecast_and_a_text_without_end(run, capsys):
    assert main(["forecast", str(run.folder), "--horizon", "100000000000"]) == 2
    assert "--horizon 100000000000 would take about" in capsys.readouterr().err
    assert main(["generate", str(run.folder), "--length", "100000000000", "--prompt", "a"]) == 2
    assert "--length 100000000000 would take about" in capsys.readouterr().err


def test_the_memory_that_is_free():
    assert 10**8 < memory.free() < 10**15
    memory.check_memory(1000, "little")
    with pytest.raises(UserError, match=r"^much would take about 1e\+18 bytes of memory"):
        memory.check_memory(1e18, "much")
