"""docs/configuration.md says which of Lightning's and Hydra's keys and callbacks are served how."""

import dataclasses
import logging
import os
import re
from pathlib import Path

import pytest
from hydra.conf import HydraConf
from hydra.experimental.callback import Callback
from lightning.pytorch import callbacks
from omegaconf import OmegaConf

import rnnlab
from rnnlab.cli import main
from rnnlab.config import check, compose
from rnnlab.config.hydra_keys import UNUSED, refuse_unused, unused
from rnnlab.config.reading import shown
from rnnlab.config.trainer_schema import TrainerSchema
from rnnlab.errors import UserError
from rnnlab.training.stock_callbacks import UNSERVED

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
CALLBACKS = {
    "BatchSizeFinder": ["max_trials=1", "steps_per_trial=1"], "DeviceStatsMonitor": [], "EMAWeightAveraging": [],
    "EarlyStopping": ["monitor=loss/val"], "LambdaCallback": [], "LearningRateFinder": ["update_attr=false",
    "num_training_steps=3"], "LearningRateMonitor": [], "ModelCheckpoint": [], "ModelSummary": [],
    "OnExceptionCheckpoint": ["dirpath=."], "RichModelSummary": [], "RichProgressBar": [], "SpikeDetection": [],
    "StochasticWeightAveraging": ["swa_lrs=0.01"], "TQDMProgressBar": [],
    "ThroughputMonitor": ["batch_size_fn={_target_:hydra.utils.get_object,path:builtins.len}"], "Timer": [],
    "WeightAveraging": [],
}  # fmt: skip
# keys that have their usual effect, with all keys below them
SERVED = {
    "hydra.mode": "RUN or MULTIRUN",
    "hydra.searchpath": "more folders of configs",
    "hydra.launcher": "chosen by hydra/launcher, with its arguments",
    "hydra.sweeper": "chosen by hydra/sweeper, with its arguments and params",
    "hydra.callbacks": "a run calls them all; a sweep of rnnlab refuses those for jobs (hydra/launcher=basic)",
    "hydra.job.env_set": "of a run; a sweep of rnnlab refuses it, for its workers have the command's environment",
    "hydra.job.env_copy": "as env_set",
    "hydra.job_logging": "Python's logging in the command's process; rnnlab itself logs nothing by it",
    "hydra.hydra_logging": "Hydra's own lines",
    "hydra.verbose": "Python's logging in the command's process",
    "hydra.help": "what --help shows",
    "hydra.hydra_help": "what --hydra-help shows",
    "hydra.defaults": "Hydra's own list of files",
}
SECTION = TEXT.split("## Lightning's and Hydra's keys")[1].split("\n## ")[0]


def test_the_tables_are_those_of_the_code():
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.+) \|$", SECTION, re.M))
    served = {key: how for key, how in SERVED.items() if key != "hydra.defaults"}
    assert rows == TrainerSchema.reserved | UNUSED | served | UNSERVED | {k: rows.get(k) for k in CALLBACKS}


OTHERS = {name: field for name, field in TrainerSchema.model_fields.items() if not field.is_required()}


@pytest.mark.parametrize("key", OTHERS)
def test_every_other_argument_is_taken(key):
    default = OTHERS[key].default
    assert check(compose([f"+trainer.{key}={shown(default)}"]))["trainer"][key] == default


def small(tmp_path, callback, arguments):
    return ["train", "data=sine", "data.n_points=200", "model.hidden_size=4", "trainer.accelerator=cpu",
            "trainer.max_epochs=2", "callbacks=none", f"paths.outputs={tmp_path / 'out'}",
            f"+callbacks.c._target_=lightning.pytorch.callbacks.{callback}",
            *(f"+callbacks.c.{word}" for word in arguments)]  # fmt: skip


def test_every_callback_of_lightnings_has_its_row():
    assert CALLBACKS.keys() | UNSERVED.keys() == set(callbacks.__all__)
    assert CALLBACKS.keys() & UNSERVED.keys() == {"LearningRateFinder"}


@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_callback_that_is_served_trains(callback, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(small(tmp_path, callback, CALLBACKS[callback])) == 0


NEEDED = {
    "GradientAccumulationScheduler": ["scheduling={0:1,1:2}"],
    "ModelPruning": ["pruning_fn=l1_unstructured"],
}


@pytest.mark.parametrize("callback", UNSERVED)
def test_a_callback_that_is_not_served_is_a_line(callback, tmp_path, capsys):
    assert main(small(tmp_path, callback, NEEDED.get(callback, ()))) == 2
    assert capsys.readouterr().err.strip() == f"callbacks.c: {callback} {UNSERVED[callback]}"
    assert not (tmp_path / "out").exists()


def keys_of_hydra(of=HydraConf, at="hydra"):
    for field in dataclasses.fields(of):
        key, inner = f"{at}.{field.name}", field.type
        if dataclasses.is_dataclass(inner) and key not in {**SERVED, **UNUSED}:
            yield from keys_of_hydra(inner, key)
        else:
            yield key


@pytest.mark.parametrize("key", list(keys_of_hydra()))
def test_every_key_of_hydras_is_served_or_refused(key):
    served = any(key == name or key.startswith(f"{name}.") for name in SERVED)
    assert served != bool(unused(key))
    if not served:
        with pytest.raises(UserError, match=f"^{key}=x: has no effect in rnnlab: "):
            refuse_unused([f"{key}=x"])


def test_a_choice_of_hydras_is_not_written_as_a_value():
    with pytest.raises(UserError, match=r"hydra\.launcher=basic: a choice is written hydra/launcher"):
        refuse_unused(["hydra.launcher=basic"])
    refuse_unused(["hydra/launcher=basic", "hydra.sweeper.max_batch_size=2"])
    with pytest.raises(UserError, match="the environment variable RNNLAB_NOPE is not set"):
        refuse_unused(["hydra.job.env_copy=[PATH,RNNLAB_NOPE]"])


def test_the_words_of_options_are_no_overrides(capsys):
    assert main(["train", "--cfg", "hydra", "-p", "hydra.run.dir"]) == 0
    assert capsys.readouterr().out == ".\n"


def test_what_a_variable_is_set_to_is_quoted_for_the_shell(tmp_path, capsys):
    words = ["train", "-m", "seed=0,1", "+hydra.job.env_set.FOO='a b'", f"paths.outputs={tmp_path / 'out'}"]
    assert main(words) == 2
    assert capsys.readouterr().err.strip().endswith("; write FOO='a b' before it")


@pytest.fixture
def files(tmp_path, capsys, monkeypatch):
    """What `rnnlab train` says of an experiment whose file has a node `hydra`, alone and in a sweep."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment").mkdir()
    asked = ["train", "--config-dir", str(tmp_path), "experiment=mine", f"paths.outputs={tmp_path / 'out'}"]

    def said(node, more=()):
        file = tmp_path / "experiment" / "mine.yaml"
        file.write_text("# @package _global_\n" + OmegaConf.to_yaml(OmegaConf.create({"hydra": node})))
        found = []
        for words in (asked, [*asked, "-m", "seed=0,1"]):
            assert main([*words, *more]) == 2
            found.append(capsys.readouterr().err)
            assert "Traceback" not in found[-1]
            assert [path.name for path in tmp_path.iterdir()] == ["experiment"]
        return file, found

    return said


VALUES = {"hydra.overrides.hydra": ["a=1"], "hydra.overrides.task": ["a=1"], "hydra.job.num": 3,
          "hydra.job.chdir": True,
          "hydra.job.config.override_dirname.exclude_keys": ["a"], "hydra.runtime.choices": {"a": "b"},
          "hydra.runtime.config_sources": [{"path": "a", "schema": "b", "provider": "c"}]}  # fmt: skip


def all_keys(of=HydraConf, at="hydra"):
    """Those of Hydra's own schema, down to the last."""
    for field in dataclasses.fields(of):
        inner = field.type
        below = (
            all_keys(inner, f"{at}.{field.name}")
            if dataclasses.is_dataclass(inner)
            else [f"{at}.{field.name}"]
        )
        yield from below


def test_each_unused_key_of_hydras_is_refused_in_a_file(files):
    keys = [key for key in all_keys() if unused(key)]
    assert len(keys) > 15
    node = OmegaConf.create()
    for key in keys:
        OmegaConf.update(node, key.removeprefix("hydra."), VALUES.get(key, "x"), force_add=True)
    file, found = files(OmegaConf.to_container(node))
    for key in keys:
        named = next(name for name in UNUSED if key == name or key.startswith(f"{name}."))
        for text in found:
            line = rf"^{key}[\w.]*=.*: is in {file}, and has no effect in rnnlab: {re.escape(UNUSED[named])}$"
            assert re.search(line, text, re.M), key


@pytest.mark.parametrize(
    "node",
    [{"run": {"dir": "a/b"}}, {"run": {"dir": "a"}, "output_subdir": "c", "job": {"chdir": True}}],
    ids=str,
)
def test_a_folder_that_a_file_names_for_hydra_is_not_left(node, files):
    _, found = files(node)
    assert all("hydra.run.dir=a" in text for text in found)


@pytest.mark.parametrize(
    ("node", "line"),
    [
        ({"moda": "RUN"}, "experiment/mine: hydra.moda: no such key. Did you mean hydra.mode?"),
        ({"job": {"nme": "x"}}, "experiment/mine: hydra.job.nme: no such key. Did you mean hydra.job.name?"),
        ({"launcher": {"n_jobs": 2}}, "experiment/mine: hydra.launcher.n_jobs: no such key"),
        (
            {"job_logging": {"rot": 1}},
            "hydra.job_logging.rot: no such key. Did you mean hydra.job_logging.root? (in ",
        ),
        (
            {"job": {"env_copy": ["RNNLAB_NOPE"]}},
            "hydra.job.env_copy: the environment variable RNNLAB_NOPE is not set",
        ),
        ({"verbose": 3}, "hydra.verbose: must be true, false, or names of Python's loggers"),
        ({"callbacks": {"a": 1}}, "hydra.callbacks: each is a class and its arguments"),
        ({"callbacks": {"a": {"b": 1}}}, "hydra.callbacks.a: names no class"),
    ],
)
def test_what_hydra_has_not_or_cannot_take_in_a_file_is_a_line(node, line, files):
    _, found = files(node)
    for text in found:
        assert line in text


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("+hydra.foo=1", "hydra.foo: no such key. Possible in hydra: callbacks, "),
        ("+hydra.job.nme=x", "hydra.job.nme: no such key. Did you mean hydra.job.name?"),
        ("++hydra.help.foter=x", "hydra.help.foter: no such key. Did you mean hydra.help.footer?"),
        (
            "+hydra.job_logging.rot=1",
            "hydra.job_logging.rot: no such key. Did you mean hydra.job_logging.root?",
        ),
        ("+hydra.launcher.n_jobs=2", "hydra.launcher.n_jobs: RnnlabLauncher has no such argument"),
        ("+hydra.sweeper.max_batchsize=2", "hydra.sweeper.max_batchsize: RnnlabSweeper has no such argument"),
        ("hydra.sweep={dir: x}", "hydra.sweep={dir: x}: hydra.sweep.dir: has no effect in rnnlab: "),
        ("hydra={job: {name: x}}", "hydra={job: {name: x}}: hydra.job.name: has no effect in rnnlab: "),
        ("+hydra.callbacks.a=1", "+hydra.callbacks.a=1: a callback is named by its class, "),
        ("hydra.verbose=3", "hydra.verbose=3: must be true, false, or names of Python's loggers"),
    ],
)
def test_a_key_that_hydra_has_not_is_refused(override, line, tmp_path, capsys):
    for words in ([override], [override, "-m", "seed=0,1"]):
        assert main(["train", *words, f"paths.outputs={tmp_path / 'out'}"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(line) and len(said.splitlines()) == 1
        assert not (tmp_path / "out").exists()


def test_batches_are_for_other_launchers(tmp_path, capsys):
    words = ["train", "-m", "seed=0,1", "hydra.sweeper.max_batch_size=1", f"paths.outputs={tmp_path / 'out'}"]
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(
        "hydra.sweeper.max_batch_size=1: rnnlab's workers take runs one by one"
    )


@pytest.mark.parametrize("word", ["hydra.verbose=true", "hydra/launcher=basic", "+hydra.job.env_set.A=b"])
def test_from_python_hydras_keys_have_no_effect_and_are_refused(word):
    with pytest.raises(UserError, match="has an effect in the command `rnnlab train` alone"):
        compose([word])
    with pytest.raises(UserError, match=r"`rnnlab train(` alone| -m`)"):
        rnnlab.sweep(word, "seed=0,1")


class Tells(Callback):
    """Says which of Hydra's keys came to something when a job began."""

    def on_job_start(self, config, **_):
        found = logging.getLogger("mine"), logging.getLogger()
        print(
            "tells",
            os.environ.get("RNNLAB_SET"),
            os.environ.get("RNNLAB_COPIED"),
            found[0].level,
            found[1].level,
        )


def test_keys_that_are_served_have_their_effect(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RNNLAB_COPIED", "there")
    monkeypatch.delenv("RNNLAB_SET", raising=False)
    (tmp_path / "experiment").mkdir()
    node = {"verbose": ["mine"], "job": {"env_set": {"RNNLAB_SET": "set"}, "env_copy": ["RNNLAB_COPIED"]},
            "callbacks": {"a": {"_target_": f"{__name__}.Tells"}}, "help": {"header": "my header"}}  # fmt: skip
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_text("# @package _global_\n" + OmegaConf.to_yaml(OmegaConf.create({"hydra": node})))
    asked = ["train", "--config-dir", str(tmp_path), "experiment=mine", f"paths.outputs={tmp_path / 'out'}",
             "data.n_points=200", "trainer.max_epochs=0", "logger=none", "callbacks=none"]  # fmt: skip
    levels = {name: logging.getLogger(name).level for name in ("mine", "")}
    try:
        assert main([*asked, "hydra/job_logging=stdout"]) == 0
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert f"tells set there {logging.DEBUG} {logging.INFO}" in capsys.readouterr().out
    assert main([*asked, "--help"]) == 0
    assert "my header" in capsys.readouterr().out
    assert main([*asked, "-m"]) == 2  # a sweep has no place for them, and says so
    said = capsys.readouterr().err
    assert "hydra.callbacks.a: " in said and "hydra.job.env_set.RNNLAB_SET: " in said
    file.write_text("# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1'}}}\n")
    assert main([*asked, "sweep.dry_run=true"]) == 0
    assert capsys.readouterr().out.startswith("2 runs")


@pytest.mark.parametrize(
    ("key", "node", "value"),
    [
        ("hydra.run.dir", "run: {dir: here}", "here"),
        ("hydra.sweep.dir", "sweep: {dir: here}", "here"),
        ("hydra.job.num", "job: {num: 3}", "3"),
        ("hydra.job.id", "job: {id: a}", "a"),
        ("hydra.job.config.override_dirname.kv_sep", "job: {config: {override_dirname: {kv_sep: '-'}}}", "-"),
    ],
)
def test_a_key_without_effect_in_a_file_is_refused(key, node, value, tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\nhydra:\n  {node}\n")
    asked = ["train", "--config-dir", str(tmp_path), "experiment=mine", f"paths.outputs={tmp_path / 'out'}"]
    line = f"{key}={value}: is in {tmp_path / 'experiment' / 'mine.yaml'}, and has no effect in rnnlab: {unused(key)}"
    for words in (asked, [*asked, "-m", "seed=0,1", "sweep.dry_run=true"]):
        assert main(words) == 2
        assert line in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
