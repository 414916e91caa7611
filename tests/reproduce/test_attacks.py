"""Folders that were made to run code or to destroy files: each is refused with one line, and nothing of it happens."""

import io
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


@pytest.mark.parametrize("command", ["evaluate", "forecast"])
@pytest.mark.parametrize("place", ["callbacks", "logger"])
def test_what_a_command_does_not_build_is_not_imported(place, command, copied):
    """`this` prints when it is imported; these commands have no business with more than model and data."""
    changed(copied, **{place: {"trap": {"_target_": "this.Zen"}}})
    sys.modules.pop("this", None)
    assert main([command, str(copied.folder)]) == 0
    assert "this" not in sys.modules


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


def test_nothing_is_exported_or_drawn_through_links_out_of_the_folder(copied, home):
    (copied.folder / "export").mkdir()
    (copied.folder / "export" / "torch").symlink_to(home / "victim")
    (copied.folder / "export" / "safetensors").mkdir()
    (copied.folder / "export" / "safetensors" / "README.md").symlink_to(home / "victim" / "thesis.txt")
    for to in ("torch", "safetensors"):
        assert main(["export", str(copied.folder), "--to", to]) == 2
    shutil.rmtree(copied.folder / "figures", ignore_errors=True)
    (copied.folder / "figures").symlink_to(home / "victim")
    with pytest.raises(rnnlab.UserError, match="figures is a link out"):
        rnnlab.load(copied.folder).draw()


def test_a_longer_run_is_not_written_where_a_strangers_config_says(steady, home, capsys):
    changed(steady, paths={"outputs": str(home / "victim"), "data": str(home / "victim")})
    argv = ["train", f"resume={steady.folder}", "trainer.max_epochs=4", f"paths.outputs={home / 'new'}"]
    assert main(argv) == 0
    assert list((home / "new").glob("sine/*/run.json"))
    (home / "new" / "link").symlink_to(home / "victim")
    changed(steady, name="link")
    assert "leads out of paths.outputs" in refused(capsys, *argv)


STOCK = "lightning.pytorch.callbacks.ModelCheckpoint"


def remade(run, **parts) -> None:
    """Puts other parts into the last checkpoint of a run."""
    content = io.BytesIO()
    torch.save(read_checkpoint(run.last_checkpoint) | parts, content)
    run.last_checkpoint.write_bytes(with_checksum(content.getvalue()))


def stock_state(folder: Path) -> tuple[str, dict]:
    states = read_checkpoint(folder / "checkpoints" / "last.ckpt")["callbacks"]
    return next((key, state) for key, state in states.items() if key.startswith("ModelCheckpoint"))


@pytest.mark.parametrize("place", ["state", "memory", "folder", "name"])
def test_a_longer_run_takes_no_files_by_a_checkpoints_word(place, steady, home):
    """The lengths of files, and the file that a stock ModelCheckpoint would remove, stand in the checkpoint."""
    node = {"_target_": STOCK, "save_last": place == "name"}
    changed(steady, callbacks={"stock": node})
    argv = ["train", f"resume={steady.folder}", "trainer.max_epochs=4", f"paths.outputs={home / 'new'}"]
    assert main(argv) == 0
    (child,) = (home / "new").glob("sine/*")
    key, state = stock_state(child)
    folder = Path(state["best_model_path"]).parent
    thesis = home / "victim" / "thesis.txt"
    removed = str(folder / os.path.relpath(home / "victim", folder))  # below its folder, by its letters
    shutil.rmtree(child)

    callbacks = read_checkpoint(steady.last_checkpoint)["callbacks"]
    callbacks["Recorder"]["lengths"][str(thesis)] = 3
    if place == "state":
        callbacks[key] = state | {"best_model_path": removed}
    memory = {"memory": {"best_model_path": removed}, "folder": {"dirpath": str(home / "victim")},
              "name": {"CHECKPOINT_NAME_LAST": os.path.relpath(home / "victim" / "last", folder)},
              }.get(place, {})  # fmt: skip
    remade(steady, callbacks=callbacks, stock={key: memory})
    assert main(argv) == 0
    assert (child / "run.json").exists()


def test_a_strangers_run_that_was_stopped_removes_no_files_elsewhere(steady, home):
    """What a ModelCheckpoint counts as its own stands in the checkpoint."""
    folder = steady.folder / "metrics" / "checkpoints"
    changed(steady, callbacks={"stock": {"_target_": STOCK}})
    for path in (folder / os.path.relpath(home / "victim", folder), "memory://thesis.txt"):
        longer = rnnlab.Run(steady.folder).config
        longer["trainer"]["max_epochs"] += 1
        (steady.folder / "config.yaml").write_text(to_yaml(longer))
        record = json.loads((steady.folder / "run.json").read_text())
        (steady.folder / "run.json").write_text(json.dumps(record | {"status": "stopped"}))
        key = (
            "ModelCheckpoint{'monitor': None, 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1, "
        )
        key += "'train_time_interval': None}"
        state = {"best_model_score": None, "best_model_path": str(path), "last_model_path": str(path)}
        remade(steady, callbacks=read_checkpoint(steady.last_checkpoint)["callbacks"] | {key: state})
        rnnlab.load(steady.folder).resume(quiet=True)
        assert stock_state(steady.folder)[0] == key  # it was the state's
        assert (home / "victim" / "thesis.txt").exists(), path


@pytest.mark.parametrize(
    ("section", "key", "node"),
    [
        ("trainer", "_partial_", {"_target_": "this.Zen"}),
        ("checkpoint", "cell", "this.Zen"),
        ("checkpoint", "_args_", 1),  # no attack, and yet one line
        ("trainer", "profiler", {"a": 1}),
    ],
)
def test_a_strangers_run_that_was_stopped_is_read_before_anything_is_imported(section, key, node, steady):
    changed(steady, **{section: steady.config[section] | {key: node}})
    record = json.loads((steady.folder / "run.json").read_text())
    (steady.folder / "run.json").write_text(json.dumps(record | {"status": "stopped"}))
    sys.modules.pop("this", None)
    with pytest.raises(rnnlab.UserError, match=section):
        rnnlab.load(steady.folder).resume(quiet=True)
    assert "this" not in sys.modules


def test_a_strangers_folder_in_the_place_of_ones_own_run_is_not_imported(tmp_path):
    """The same command shows the results of a finished run, and what to do next."""
    asked = (*RUN, f"paths.outputs={tmp_path}")
    run = rnnlab.train(*asked)
    changed(run, model=run.config["model"] | {"_target_": "this.Zen"})
    sys.modules.pop("this", None)
    assert main(["train", *asked]) == 0
    assert "this" not in sys.modules


def test_a_strangers_overrides_say_nothing_to_hydra(steady, home):
    (home / "evil").mkdir()
    (home / "evil" / "__init__.py").write_text(TRAP)
    (steady.folder / "overrides.yaml").write_text(to_yaml(["hydra.searchpath=[pkg://evil]"]))
    assert (
        main(["train", f"resume={steady.folder}", "trainer.max_epochs=4", f"paths.outputs={home / 'new'}"])
        == 0
    )


@pytest.mark.parametrize("hydra", ["searchpath: [pkg://evil]", "callbacks: {x: {_target_: evil.Trap}}"])
def test_configs_of_a_folder_that_a_strangers_manifest_names_run_nothing(hydra, steady, home):
    """They say what the child's name is counted from."""
    (home / "evil").mkdir()
    (home / "evil" / "__init__.py").write_text(TRAP)
    configs = steady.folder / "configs"
    (configs / "experiment").mkdir(parents=True)
    (configs / "experiment" / "bad.yaml").write_text(
        f"# @package _global_\nhydra:\n  {hydra}\nname: ../../victim\n"
    )
    (steady.folder / "overrides.yaml").write_text(to_yaml(["experiment=bad"]))
    manifest = steady.manifest | {"command": ["rnnlab", "train", "--config-dir", str(configs)]}
    steady.manifest_file.write_text(json.dumps(manifest))
    assert main(
        ["train", f"resume={steady.folder}", "trainer.max_epochs=4", f"paths.outputs={home / 'new'}"]
    ) in (0, 2)
    assert "evil" not in sys.modules


def test_a_corpus_is_not_downloaded_to_where_a_strangers_config_says(copied, home, monkeypatch):
    from rnnlab.runs.data import kept_here

    monkeypatch.setenv("RNNLAB_DATA", str(home / "data"))
    node = {"_target_": "rnnlab.data.Chars", "corpus": "text8", "folder": str(home / "victim")}
    assert kept_here(node)["folder"] == str(home / "data")
    (home / "there").mkdir()
    (home / "there" / "text8.zip").touch()  # is read, where it lies
    assert kept_here(node | {"folder": str(home / "there")})["folder"] == str(home / "there")


def test_nor_where_that_of_a_run_that_was_stopped_says(steady, monkeypatch):
    trained = []
    monkeypatch.setattr("rnnlab.training.train.train_config", lambda config, *a, **k: trained.append(config))
    monkeypatch.setattr("rnnlab.runs.data.kept_here", lambda node: node | {"folder": "ours"})
    record = json.loads((steady.folder / "run.json").read_text())
    (steady.folder / "run.json").write_text(json.dumps(record | {"status": "stopped"}))
    rnnlab.load(steady.folder).resume(quiet=True)
    assert trained[0]["data"]["folder"] == "ours"


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
