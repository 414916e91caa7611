"""What decides a run's numbers, and what does not."""

import copy

import pytest

from rnnlab.config import check, compose, deciding
from rnnlab.config.reading import read


def of(*overrides):
    return deciding(check(compose(overrides)))


@pytest.mark.parametrize(
    "override",
    [
        "name=other",
        "tags=[a,b]",
        "notes=hello",
        "rerun=true",
        "paths.outputs=elsewhere",
        "checkpoint.every_n_steps=3",
        "logger=none",
        "logger=[csv,tensorboard]",
        "callbacks.progress.refresh_s=3",
        "~callbacks.pictures",
        "callbacks=none",
        "trainer.log_every_n_steps=50",
        "trainer.profiler=simple",
        "trainer.threads=1",
        "trainer.detect_anomaly=true",
        # the same, written otherwise
        "optimizer.lr=0.00100",
        "model.hidden_size=32.0",
        "data.amplitudes=[1]",
        "trainer.precision=32",
        # at the value that Lightning and torch have anyway
        "+trainer.strategy=auto",
        "+trainer.num_nodes=1",
        "+optimizer.amsgrad=false",
        "~optimizer.eps",
        "+callbacks.lr._target_=lightning.pytorch.callbacks.LearningRateMonitor",
    ],
)
def test_the_same_run(override):
    assert of(override) == of()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "monitor=metric/mae",
        "mode=max",
        "model.hidden_size=33",
        "model.engine=reference",
        "model=forecaster model.bias=one",
        "data.noise_std=0.2",
        "data.seed=1",
        "optimizer.lr=0.002",
        "optimizer=sgd",
        "+optimizer.amsgrad=true",
        "scheduler=cosine",
        "trainer.max_epochs=21",
        "trainer.accelerator=cpu",
        "trainer.deterministic=true",
        "trainer.limit_val_batches=1",
        "+trainer.strategy=ddp",
        "trainer.devices=2",
        "callbacks=early_stopping",
        "+callbacks.mine._target_=my.Callback",
    ],
)
def test_another_run(override):
    assert of(*override.split()) != of()


def test_several_devices_are_the_same_run_whether_ddp_is_named_or_not():
    assert of("trainer.devices=2", "+trainer.strategy=ddp") == of("trainer.devices=2")


def test_one_batch_is_not_all_batches():
    assert repr(of("trainer.limit_val_batches=1")) != repr(of("trainer.limit_val_batches=1.0"))


def test_where_a_corpus_is_kept_decides_nothing_but_a_path_does(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("abc")
    assert of("data=chars", f"data.folder={tmp_path}") == of("data=chars", "paths.data=/elsewhere")
    assert of("data=chars", f"data.path={text}")["data"]["path"] == str(text)


def test_it_is_its_own_fixed_point_and_leaves_its_argument_alone():
    config = check(compose(["data=tokens", "+trainer.min_epochs=2"]))
    before = repr(config)
    once = deciding(config)
    assert repr(config) == before
    assert deciding(once) == once
    assert "paths" not in once and "logger" not in once and once["trainer"]["min_epochs"] == 2


def test_an_incomplete_config_gives_what_can_be_read_of_it():
    found = deciding(compose(["data=series", "model.hidden_size=oops", "optimizer.lr='1e-3'"]))
    assert "path" not in found["data"] and found["data"]["window"] == 96
    assert found["model"]["hidden_size"] == "oops" and found["optimizer"]["lr"] == 1e-3


def test_a_run_from_before_targets_decided_the_split_keeps_its_rule_and_its_id(tmp_path):
    (tmp_path / "x.csv").write_text("x\n1\n")
    asked = (
        "data=series",
        f"data.path={tmp_path / 'x.csv'}",
        "data.target=x",
        "model=forecaster",
        "data.season=24",
    )
    now = check(compose(asked))
    before = copy.deepcopy(now)
    for key in (
        "split",
        "log",
        "known",
        "calendar",
        "id_column",
        "time_format",
        "decimal",
        "thousands",
        "marks",
    ):
        del before["data"][key]
    old = check(compose((*asked, "data.split=rows")))
    assert deciding(before) == deciding(old) != deciding(now)
    assert read(copy.deepcopy(before)).values["data"]["split"] == "rows"  # and so it is evaluated
    assert now["data"]["split"] == "targets"


@pytest.mark.parametrize(
    ("words", "bias"),
    [
        (("model.cell=lstm",), 1.0),
        (("model.cell=gru",), None),
        (("model.cell=lstm", "model.bias=none"), None),
    ],
)
def test_an_automatic_forget_bias_is_what_it_comes_to(words, bias):
    assert of(*words, "model.forget_bias=auto") == of(*words, f"model.forget_bias={bias or 'null'}")
