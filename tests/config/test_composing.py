"""Composition: which choice brings which along, and that composing leaves no trace in the process."""

import subprocess
import sys

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from rnnlab.config import base_config, check, compose, config_folder
from rnnlab.errors import UserError


@pytest.fixture
def own(tmp_path):
    """A user's config folder: an experiment on text, and a data set of his own."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /data: chars\n  - override /logger: [csv, tensorboard]\n"
        "name: mine\ndata:\n  segment: 7\n"
    )
    (tmp_path / "data" / "waves.yaml").write_text("_target_: mypackage.Waves\nheight: 3\n")
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "model", "data"),
    [
        ([], "Forecaster", "Sine"),
        (["data=chars"], "CharLM", "Chars"),
        (["data=tokens"], "Classifier", "Tokens"),
        (["data=chars", "model=classifier"], "Classifier", "Chars"),
        (["model=classifier", "data=chars"], "Classifier", "Chars"),
        (["data=series"], "Forecaster", "Series"),
    ],
)
def test_data_brings_its_model_and_an_explicit_model_wins(overrides, model, data):
    cfg = compose(overrides)
    assert cfg.model._target_ == f"rnnlab.tasks.{model}"
    assert cfg.data._target_ == f"rnnlab.data.{data}"


def test_experiment_of_the_users_own_chooses_and_sets(own):
    cfg = compose(["experiment=mine"], own)
    assert (cfg.name, cfg.data.segment, cfg.model._target_) == ("mine", 7, "rnnlab.tasks.CharLM")
    assert list(cfg.logger) == ["csv", "tensorboard"]
    # the command line wins over the experiment, and what it chooses brings its own model
    cfg = compose(["experiment=mine", "data=tokens", "~data.segment"], own)
    assert cfg.model._target_ == "rnnlab.tasks.Classifier"
    assert compose(["data=waves"], own).data.height == 3


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("logger=[tensorboard,csv]", {"tensorboard", "csv"}),
        ("logger=csv", {"csv"}),
        ("logger=none", set()),
        ("~logger", set()),
    ],
)
def test_several_loggers_one_or_none(choice, names):
    assert set(check(compose([choice]))["logger"]) == names


def test_debug_changes_only_what_it_says():
    plain, debug = compose(), compose(["debug=limit"])
    changed = {k for k in plain.trainer if plain.trainer[k] != debug.trainer[k]}
    assert changed == {"max_epochs", "limit_train_batches", "limit_val_batches", "limit_test_batches"}
    assert {**plain, "trainer": 0} == {**debug, "trainer": 0}


def test_overfitting_leaves_out_what_an_experiment_drops_at_random(own):
    noise = {"dropout", "input_dropout", "recurrent_dropout", "zoneout", "zoneout_cell"}
    lines = "".join(f"  {key}: 0.1\n" for key in sorted(noise))
    (own / "experiment").mkdir(exist_ok=True)
    (own / "experiment" / "noisy.yaml").write_text(f"# @package _global_\nmodel:\n{lines}")
    model = compose(["experiment=noisy", "debug=overfit"], own).model
    assert {key for key in model if "dropout" in key or "zoneout" in key} == noise
    assert not any(model[key] for key in noise)


def test_local_settings_lie_below_an_experiment(own):
    (own / "local").mkdir()
    (own / "local" / "default.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /logger: none\nname: local\nnotes: here\n"
    )
    assert list(compose([], own).logger) == []
    cfg = compose(["experiment=mine"], own)
    assert (cfg.name, cfg.notes, list(cfg.logger)) == ("mine", "here", ["csv", "tensorboard"])


def test_every_experiment_composes():
    folder = config_folder() / "experiment"
    names = [p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")]
    assert "sine" in names
    for name in names:
        assert compose([f"experiment={name}"]).name != "scratch", name


def test_composing_inside_another_hydra_leaves_it_as_it_was(own):
    with initialize_config_dir(str(own), version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        assert compose(["seed=3"]).seed == 3
        assert GlobalHydra.instance().hydra is outer
    assert not GlobalHydra.instance().is_initialized()


def test_a_config_folder_with_odd_characters(own, tmp_path):
    odd = tmp_path / "a 'b' \"c\", {d} [e]=f"
    (odd / "data").mkdir(parents=True)
    (odd / "data" / "waves.yaml").write_text("_target_: a.B\n")
    assert compose(["data=waves"], odd).data._target_ == "a.B"


def test_a_config_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        compose([], tmp_path / "nope")


def test_base_config_keeps_the_experiment_alone(own):
    base = base_config(["experiment=mine", "seed=5", "model.hidden_size=64", "data=sine"], own)
    assert base == compose(["experiment=mine"], own)
    assert base is base_config(["seed=7", "experiment=mine"], own)
    with pytest.raises(Exception, match="read-only"):
        base.seed = 3


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from rnnlab.config import compose, check, deciding\n"
        "deciding(check(compose(['data=chars'])))\n"
        "heavy = {'torch', 'lightning', 'matplotlib', 'numpy'}\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & heavy))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
