"""Classes that have moved: what was written before they did still opens, trains and means the same run."""

import shutil

import pytest
import yaml

import rnnlab
from rnnlab.cli import main
from rnnlab.config import check, checking, compose, deciding
from rnnlab.config.building import locate
from rnnlab.config.renamed import RENAMED, rename

ASKED = ("experiment=sine", "model.hidden_size=4", "data.n_points=200", "trainer.max_epochs=2",
         "callbacks=[default,inspect]", "scheduler=constant",
         "trainer.accelerator=cpu", "model.engine=torch")  # fmt: skip


@pytest.fixture
def untold():
    """Each test hears of a class that has moved as if it were the first."""
    checking._tell.cache_clear()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return rnnlab.train(*ASKED, f"paths.outputs={tmp_path_factory.mktemp('outputs')}")


@pytest.fixture
def old(trained, tmp_path) -> rnnlab.Run:
    """The same folder as 0.1 left it: by the old names, and without the syntax of sources."""
    shutil.copytree(trained.folder, folder := tmp_path / "sine" / trained.folder.name)
    text = (folder / "config.yaml").read_text().replace(str(trained.folder.parents[1]), str(tmp_path))
    for before, now in RENAMED.items():
        assert text.count(now) == 1, now
        text = text.replace(now, before)
    (folder / "config.yaml").write_text(text)
    return rnnlab.Run(folder)


def test_every_new_name_is_there():
    for before, now in RENAMED.items():
        assert callable(locate(now, "callbacks.x"))
        with pytest.raises(rnnlab.errors.UserError):
            locate(before, "callbacks.x")


def test_they_are_renamed_wherever_they_stand():
    before, now = next(iter(RENAMED.items()))
    node = {"a": [{"_target_": before, "b": {"_target_": before}}], "_target_": "mine.Class", "c": before}
    assert rename(node) == {"a.0._target_": before, "a.0.b._target_": before}
    assert node == {"a": [{"_target_": now, "b": {"_target_": now}}], "_target_": "mine.Class", "c": before}
    assert rename(node) == {}


def test_an_old_folder_opens_and_says_nothing_of_it(old, trained, capsys):
    assert old.config["callbacks"] == trained.config["callbacks"]
    assert deciding(old.config) == deciding(trained.config)
    out = old.folder.parents[1]
    for words in (["report", old.folder.parent], ["report", old.folder], ["evaluate", old.folder],
                  ["forecast", old.folder, "--horizon", 3], ["diff", old.folder, trained.folder],
                  ["archive", old.folder.parent, "--out", out / "x.zip"], ["reproduce", old.folder]):  # fmt: skip
        assert main([str(word) for word in words]) == 0, words
        err = capsys.readouterr().err
        assert "now called" not in err and "left out" not in err, words


def test_its_own_command_finds_it_and_a_longer_run_goes_on_from_it(old, trained):
    outputs = f"paths.outputs={old.folder.parents[1]}"
    assert main(["train", *ASKED, outputs]) == 0
    assert [run.folder for run in rnnlab.runs(old.folder.parent)] == [old.folder]
    assert rnnlab.Run(old.folder).record == trained.record  # it was not trained again
    assert main(["train", f"resume={old.folder}", "trainer.max_epochs=3", outputs]) == 0
    (longer,) = (run for run in rnnlab.runs(old.folder.parent) if run.folder != old.folder)
    assert longer.results["steps"] == 3 / 2 * old.results["steps"]
    assert not set(RENAMED) & set(str(longer.config["callbacks"]).replace("'", " ").split())


def test_a_users_own_config_works_and_one_line_says_the_new_name(tmp_path, untold, capsys):
    before = "rnnlab.inspection.spectrum.RecurrentWeights"
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "callbacks" / "mine.yaml").write_text(
        yaml.dump({"weights": {"_target_": before, "every": 2}})
    )
    cfg = compose(["experiment=sine", "callbacks=mine"], tmp_path)
    for _ in range(2):
        assert check(cfg)["callbacks"]["weights"] == {"_target_": RENAMED[before], "every": 2}
    said = capsys.readouterr().err
    assert said.splitlines() == [
        f"callbacks.weights._target_={before}: this class is now called {RENAMED[before]}"
    ]
    now = compose(["experiment=sine", "callbacks=none", f"+callbacks.weights._target_={RENAMED[before]}",
                   "+callbacks.weights.every=2"])  # fmt: skip
    assert deciding(cfg) == deciding(now)
    assert capsys.readouterr().err == ""


def test_an_argument_of_an_old_name_is_checked_as_of_the_new_one(untold):
    asked = ["+callbacks.x._target_=rnnlab.inspection.states.States", "+callbacks.x.every=0"]
    with pytest.raises(
        rnnlab.errors.UserError, match=r"callbacks\.x\.every=0: must be a whole number of at least 1"
    ):
        check(compose(["experiment=sine", *asked]))


def test_a_sweep_says_it_once_too(tmp_path, untold, capsys):
    asked = ["+callbacks.x._target_=rnnlab.inspection.states.States", "callbacks=none", *ASKED[:4]]
    assert main(["train", "-m", "seed=1,2", *asked, f"paths.outputs={tmp_path}", "--dry-run"]) == 0
    assert capsys.readouterr().err.count("this class is now called rnnlab.instruments.states.States") == 1
