"""Folders that were made to run code or to destroy files: each is refused with one line, and nothing of it happens."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rnnlab
from rnnlab.cli import main
from rnnlab.runs.checksum import with_checksum
from rnnlab.runs.load import read_checkpoint
from rnnlab.runs.yaml import to_yaml

TRAP = "open('BOOM', 'w').close()\nclass Trap:\n    pass\ndef run(**_):\n    pass\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working folder with a trap in its outputs, and what must not be touched."""
    monkeypatch.chdir(tmp_path)
    evil = tmp_path / "outputs" / "x"
    evil.mkdir(parents=True)
    (evil / "evil.py").write_text(TRAP)
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "thesis.txt").write_text("years of work")
    yield tmp_path
    assert not (tmp_path / "BOOM").exists() and "outputs.x.evil" not in sys.modules
    assert [f.name for f in (tmp_path / "victim").iterdir()] == ["thesis.txt"]
    assert (tmp_path / "victim" / "thesis.txt").read_text() == "years of work"


RUN = ("experiment=sine", "model.hidden_size=8", "model.engine=torch", "data.n_points=200", "scheduler=constant",
       "trainer.max_epochs=3", "trainer.threads=1", "trainer.accelerator=cpu", "callbacks=none")  # fmt: skip


@pytest.fixture(scope="module")
def constant(tmp_path_factory):
    return rnnlab.train(*RUN, f"paths.outputs={tmp_path_factory.mktemp('constant')}")


@pytest.fixture
def steady(constant, tmp_path):
    """A stranger's run that can be made longer."""
    folder = tmp_path / "from" / "elsewhere" / constant.folder.name
    shutil.copytree(constant.folder, folder)
    return rnnlab.Run(folder)


def attacks(home: Path) -> dict[str, dict]:
    thesis, folder = str(home / "victim" / "thesis.txt"), str(home / "victim")
    return {
        "attention": {"_target_": "torch.nn.attention._fa3.register_flash_attention_fa3",
                      "module_path": "outputs.x.evil"},
        "overwrite": {"_target_": "rnnlab.training.checkpoints.WholeFiles.save_checkpoint",
                      "self": {"_target_": "rnnlab.training.checkpoints.WholeFiles"}, "checkpoint": {},
                      "path": thesis},
        "remove": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint._link_checkpoint",
                   "trainer": None, "filepath": thesis, "linkpath": folder},
        "longer path": {"_target_": "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
                        "dirpath": folder, "save_top_k": -1},
    }  # fmt: skip


NAMES = ("attention", "overwrite", "remove", "longer path")


def changed(run, **sections) -> None:
    (run.folder / "config.yaml").write_text(to_yaml(run.config | sections))


def refused(capsys, *argv: str) -> str:
    capsys.readouterr()
    assert main(list(argv)) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1, said
    return said


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["evaluate", "forecast", "unroll", "model", "reproduce"])
def test_in_the_models_loss(name, command, copied, home, capsys):
    attack = attacks(home)[name]
    changed(copied, model=copied.config["model"] | {"loss": attack})
    said = f"loss: {attack['_target_']}("
    if command == "model":
        with pytest.raises(rnnlab.UserError, match=r"Forecaster\(loss: .*trust=True"):
            rnnlab.load(copied.folder).model  # noqa: B018
    else:
        more = ["--input", "0.1"] if command == "unroll" else []
        assert said in refused(capsys, command, str(copied.folder), *more)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["callbacks", "optimizer", "scheduler", "data", "logger"])
@pytest.mark.parametrize("command", ["reproduce", "resume", "archive"])
def test_as_a_part_of_the_training(name, place, command, copied, home, capsys):
    attack = attacks(home)[name]
    changed(copied, **{place: {"trap": attack} if place in ("callbacks", "logger") else attack})
    at = f"{place}.trap" if place in ("callbacks", "logger") else place
    if command == "archive":
        assert main(["archive", str(copied.folder.parent), "--out", "a.zip"]) == 0
        argv = ["reproduce", f"a.zip/{copied.folder.name}"]
    else:
        argv = {"reproduce": ["reproduce", str(copied.folder)],
                "resume": ["train", f"resume={copied.folder}", "trainer.max_epochs=5"]}[command]  # fmt: skip
    if place == "logger" and command != "resume":
        assert main(argv) == 0  # loggers of the folder are not built
    else:
        assert f"{at}={attack['_target_']}(" in refused(capsys, *argv)


def test_modules_in_the_working_folder_are_not_found_where_it_is_a_strangers(steady, tmp_path):
    """A library that asks for an optional module, and Python's own for what it needs, must not find the folder's."""
    traps = ("wandb", "mlflow", "comet_ml", "json", "onnx", "trap")
    for name in traps:
        (steady.folder / f"{name}.py").write_text(TRAP)
    about = steady.folder / "evil-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[torch.backends]\nevil = trap:run\n[lightning.pytorch.callbacks_factory]\nevil = trap:run\n"
    )
    plugins = steady.folder / "hydra_plugins"
    plugins.mkdir()
    (plugins / "trap.py").write_text(TRAP)
    script = Path(sys.executable).with_name("rnnlab")
    for words in (["evaluate", "."], ["reproduce", "."], ["reproduce", "..", "--sample", "1"],
                  ["train", "resume=.", "trainer.max_epochs=4", f"paths.outputs={tmp_path / 'new'}"]):  # fmt: skip
        done = subprocess.run([script, *words], cwd=steady.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not list(steady.folder.rglob("BOOM")), words


def test_a_forecast_does_not_follow_links_out_of_the_folder(copied, home, capsys):
    shutil.rmtree(copied.folder / "figures", ignore_errors=True)
    (copied.folder / "figures").symlink_to(home / "victim")
    assert "is a link out of the run's folder" in refused(
        capsys, "forecast", str(copied.folder), "--horizon=5"
    )
    (copied.folder / "figures").unlink()
    (copied.folder / "figures").mkdir()
    (copied.folder / "figures" / "free-run-5.csv").symlink_to(home / "victim" / "thesis.txt")
    assert "is a link out of the run's folder" in refused(
        capsys, "forecast", str(copied.folder), "--horizon=5"
    )


def test_a_longer_run_is_not_written_where_a_strangers_config_says(steady, home, capsys):
    changed(steady, paths={"outputs": str(home / "victim"), "data": str(home / "victim")})
    argv = ["train", f"resume={steady.folder}", "trainer.max_epochs=4", f"paths.outputs={home / 'new'}"]
    assert main(argv) == 0
    assert list((home / "new").glob("sine/*/run.json"))
    (home / "new" / "link").symlink_to(home / "victim")
    changed(steady, name="link")
    assert "leads out of paths.outputs" in refused(capsys, *argv)


def test_a_longer_run_takes_no_files_by_a_checkpoints_word(steady, home):
    """The lengths of files, and the file that a stock ModelCheckpoint would remove, stand in the checkpoint."""
    changed(steady, callbacks={"stock": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint"}})
    argv = ["train", f"resume={steady.folder}", "trainer.max_epochs=4", f"paths.outputs={home / 'new'}"]
    assert main(argv) == 0
    (child,) = (home / "new").glob("sine/*")
    states = read_checkpoint(child / "checkpoints" / "last.ckpt")["callbacks"]
    (key,) = (k for k in states if k.startswith("ModelCheckpoint"))
    folder = Path(states[key]["best_model_path"]).parent
    thesis = home / "victim" / "thesis.txt"
    removed = folder / os.path.relpath(thesis, folder)  # below its folder, by its letters
    shutil.rmtree(child)

    checkpoint = read_checkpoint(steady.last_checkpoint)
    checkpoint["callbacks"]["Recorder"]["lengths"][str(thesis)] = 3
    checkpoint["callbacks"][key] = states[key] | {"best_model_path": str(removed)}
    with (home / "checkpoint").open("wb") as f:
        torch.save(checkpoint, f)
    steady.last_checkpoint.write_bytes(with_checksum((home / "checkpoint").read_bytes()))
    assert main(argv) == 0
    assert (child / "run.json").exists()


def test_a_strangers_overrides_say_nothing_to_hydra(steady, home):
    (home / "evil").mkdir()
    (home / "evil" / "__init__.py").write_text(TRAP)
    (steady.folder / "overrides.yaml").write_text(to_yaml(["hydra.searchpath=[pkg://evil]"]))
    assert (
        main(["train", f"resume={steady.folder}", "trainer.max_epochs=4", f"paths.outputs={home / 'new'}"])
        == 0
    )


def test_a_corpus_is_not_downloaded_to_where_a_strangers_config_says(copied, home, monkeypatch):
    from rnnlab.runs.data import kept_here

    monkeypatch.setenv("RNNLAB_DATA", str(home / "data"))
    node = {"_target_": "rnnlab.data.Chars", "corpus": "text8", "folder": str(home / "victim")}
    assert kept_here(node)["folder"] == str(home / "data")
    (home / "there").mkdir()
    (home / "there" / "text8.zip").touch()  # is read, where it lies
    assert kept_here(node | {"folder": str(home / "there")})["folder"] == str(home / "there")


def test_manifests_that_claim_what_everybody_has(copied, home, monkeypatch, capsys):
    """The bytes of a module that is known do not make it the user's own: nor what it merely imports."""
    import hashlib

    import rnnlab.training.checkpoints as ours

    (home / "mine_of_an_attack.py").write_text(
        "from shutil import rmtree\n\n\ndef clear(path):\n    rmtree(path)\n"
    )
    monkeypatch.syspath_prepend(home)
    folder = home / "victim"
    for target, file in (("mine_of_an_attack.rmtree", home / "mine_of_an_attack.py"),
                         ("mine_of_an_attack.clear", home / "mine_of_an_attack.py"),
                         ("rnnlab.training.checkpoints.WholeFiles", Path(ours.__file__)),
                         ("torch.serialization.load", Path(torch.serialization.__file__)),
                         ("shutil.rmtree", Path(shutil.__file__))):  # fmt: skip
        elsewhere = home / "o" / "exp" / target
        shutil.copytree(copied.folder, elsewhere)
        run = rnnlab.Run(elsewhere)
        changed(run, callbacks={"trap": {"_target_": target, "path": str(folder)}})
        manifest = run.manifest
        manifest["sources"][target.rpartition(".")[0]] = hashlib.sha256(file.read_bytes()).hexdigest()
        run.manifest_file.write_text(json.dumps(manifest))
        assert f"callbacks.trap={target}(path: text)" in refused(capsys, "reproduce", str(elsewhere))
