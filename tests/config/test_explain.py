"""Hydra's errors as readable lines."""

import pytest
from omegaconf import OmegaConf

from rnnlab.config import check, compose, config_folder, explain
from rnnlab.config.hydra_config import opposed
from rnnlab.errors import UserError


def lines(*overrides, config_dir=None):
    with pytest.raises(UserError) as caught:
        compose(overrides, config_dir)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.hiden_size=3", "model.hiden_size: no such key. Did you mean model.hidden_size?"),
        ("optimiser=sgd", "optimiser: no such key. Did you mean optimizer?"),
        ("lr=3", "lr: no such key. Did you mean optimizer.lr?"),
        ("experimint=sine", "experimint: no such key. Did you mean experiment?"),
        ("data.segment=3", "data.segment: no such key. data=chars has it."),
        ("trainer.strategy=ddp", "trainer.strategy: no such key. +trainer.strategy=VALUE adds it."),
        ("optimizer.amsgrad=true", "optimizer.amsgrad: no such key. +optimizer.amsgrad=VALUE adds it."),
        ("~trainer.max_epoch", "trainer.max_epoch: no such key. Did you mean trainer.max_epochs?"),
        ("optimizer=adan", "optimizer=adan: no such choice. Did you mean adam?"),
        (
            "logger=null",
            "logger=null: no such choice. Possible: aim, comet, csv, mlflow, none, tensorboard, trackio, wandb.",
        ),
        ("data=foo", "data=foo: no such choice. Possible: chars, series, sine, tokens."),
        (
            "experiment=notebook/charrnn",
            "experiment=notebook/charrnn: no such choice. Did you mean notebook/char_rnn?",
        ),
        (
            "data.amplitudes[0]=2",
            "data.amplitudes[0]=2: an element of a list is written data.amplitudes.0=VALUE",
        ),
        ("'notes=a,b'", "'notes=a,b': quotes around all of it are the shell's; write notes=a,b"),
        (
            "hydra/launcher=joblib",
            "hydra/launcher=joblib: is not installed: pip install hydra-joblib-launcher",
        ),
        (
            "hydra.sweeper.params.seed='0,1'",
            "hydra.sweeper.params.seed: no such key. +hydra.sweeper.params.KEY=VALUE adds one.",
        ),
        ("trainer.auto_lr_find=true", "trainer.auto_lr_find: no such key. rnnlab find-lr finds a rate."),
        ("+seed=3", "+seed: is there already; write seed=VALUE without the +"),
        ("+experiment=sine", "+experiment: is there already; write experiment=VALUE without the +"),
        ("=3", "=3: an override is written KEY=VALUE"),
        ("model={a:1}", "model={a:1}: no such choice. Possible: char_lm, classifier, forecaster, recurrent."),
        ("~seed=5", "~seed=5: Could not delete from config. The value of 'seed' is 0 and not 5."),
        ("model.hidden_size", "model.hidden_size: an override is written KEY=VALUE"),
        (
            "seed=1,2",
            "seed=1,2: several values are a sweep, and this is one run: call it for each value, or put a list into "
            "[brackets]",
        ),
    ],
)
def test_one_fault_one_line(override, line):
    assert lines(override) == [line]


def test_quotes_are_advised_for_special_characters():
    (line,) = lines("notes=hello (world)")
    assert line.startswith("notes=hello (world): cannot be read")
    assert line.endswith("'notes=\"...\"'")


def test_all_faults_at_once_those_of_values_too():
    assert lines("model.hiden_size=3", "data.windo=5", "model.hidden_size=-3") == [
        "model.hiden_size: no such key. Did you mean model.hidden_size?",
        "data.windo: no such key. Did you mean data.window?",
        "model.hidden_size=-3: must be a whole number of at least 1",
    ]


def test_several_values_are_named_beside_other_faults_and_each_fault_once():
    several = "several values are a sweep, and this is one run: call it for each value, or put a list into [brackets]"
    assert lines("seed=1,2", "model.hiden_size=3", "optimizer.lr=0.1,0.2", "optimiser=sgd") == [
        "model.hiden_size: no such key. Did you mean model.hidden_size?",
        "optimiser: no such key. Did you mean optimizer?",
        f"seed=1,2: {several}",
        f"optimizer.lr=0.1,0.2: {several}",
    ]


def test_forty_faults_are_found_with_one_composition(monkeypatch):
    composed, calls = explain.composed, []
    monkeypatch.setattr(explain, "composed", lambda *asked: calls.append(asked) or composed(*asked))
    found = lines(*(f"model.bad{i}={i}" for i in range(40)), "+model.options.a=1", "seed.x=3")
    assert len(calls) == 1
    assert [line.split(":")[0] for line in found[:40]] == [f"model.bad{i}" for i in range(40)]
    assert found[40:] == [
        "seed.x: no such key. `rnnlab train --cfg job` shows all keys.",
        "model.options.a=1: elman has no such option. It has none.",
    ]


def test_a_folder_of_configs_is_there_before_what_it_holds(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "waves.yaml").write_text("_target_: mine.Waves\n")
    typo = "model.hiden_size: no such key. Did you mean model.hidden_size?"
    assert lines("data=waves", "model.hiden_size=3", f"hydra.searchpath=['file://{tmp_path}']") == [typo]
    assert explain.first_of_sweep("data=glob(wa*)", tmp_path) == "data=waves"


def test_a_sweep_without_values_is_named_beside_other_faults():
    found = explain.explain(
        ValueError("of Hydra's"), ["seed=range(0)", "data=glob(z*)", "model.hiden_size=3"]
    )
    assert found == [
        "seed=range(0): it has no values",
        "data=glob(z*): it has no values",
        "model.hiden_size: no such key. Did you mean model.hidden_size?",
    ]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"notes: \xe9\n", "experiment=mine: a file of configs is not UTF-8 ('utf-8' codec can't decode byte 0xe9"),
        (b"defaults: [mine]\n", "experiment=mine: its list of defaults leads back to itself"),
        (b"defaults: {data: chars}\n", "experiment=mine: Invalid defaults list in 'experiment/mine', defaults must"),
        (b"- 1\n", "experiment/mine: ConfigTypeError raised while composing config: Cannot merge DictConfig with"),
        (b"defaults: [{override /data: '???'}]\n", "experiment=mine: You must specify 'data', e.g, data=<OPTION>"),
    ],
)  # fmt: skip
def test_a_file_that_hydra_cannot_read_is_named(content, line, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_bytes(b"# @package _global_\n" + content)
    (said,) = lines("experiment=mine", "model.hidden_size=3", config_dir=tmp_path)
    assert said.startswith(line)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["data=chars"], "experiment=open: You must specify 'model', e.g, model=<OPTION>"),
        (["data=chars", "model=char_lm", "optimizer=foo"], "optimizer=foo: no such choice."),
    ],
)
def test_what_an_experiment_demands_and_is_given_is_not_at_fault(asked, line, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "open.yaml").write_text(
        "# @package _global_\ndefaults: [{override /model: '???'}, {override /data: '???'}]\n"
    )
    (said,) = lines("experiment=open", *asked, config_dir=tmp_path)
    assert said.startswith(line)


def test_a_group_that_an_experiment_brings_is_there(tmp_path):
    for folder, text in (("experiment", "# @package _global_\ndefaults: [/mine: a]\n"), ("mine", "x: 1\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.yaml").write_text(text)
    asked = ("experiment=a", "mine=a", "optimizer=foo", "model=foo")
    said = lines(*asked, config_dir=tmp_path)
    assert sorted(line.partition(":")[0] for line in said) == ["model=foo", "optimizer=foo"]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("hydra.mode=FOO", "hydra.mode=FOO: Invalid value 'FOO', expected one of [RUN, MULTIRUN]"),
        ("hydra.searchpath=3", "hydra.searchpath=3: hydra.searchpath must be a list of strings. Got: 3"),
        ("hydra.moda=RUN", "hydra.moda: no such key. Did you mean hydra.mode?"),
        ("~hydra.verbos", "hydra.verbos: no such key. Did you mean hydra.verbose?"),
        ("seed=range(0)", "seed=range(0): it has no values"),
    ],
)
def test_a_key_of_hydras_that_is_there_is_not_told_to_be_absent(asked, line):
    assert lines(asked) == [line]


def test_a_wrong_choice_does_not_accuse_the_keys_of_the_right_one():
    assert lines("data=serie", "data.path=x.csv", "data.target=OT") == [
        "data=serie: no such choice. Did you mean series?"
    ]
    assert len(lines("data=serie", "model=forcaster")) == 2


def test_faults_in_a_users_files(tmp_path):
    (tmp_path / "experiment").mkdir()
    bad = tmp_path / "experiment" / "bad.yaml"
    bad.write_text("# @package _global_\ndefaults:\n  - override /dta: chars\n")
    assert lines("experiment=bad", config_dir=tmp_path) == [
        "experiment/bad: override dta: no such group. Did you mean data?"
    ]
    bad.write_text("# @package _global_\ndefaults:\n  - override /data: char\n")
    assert lines("experiment=bad", config_dir=tmp_path) == [
        "experiment=bad: there is no data/char. Did you mean chars?"
    ]
    bad.write_text("# @package _global_\nseed: [1\n")
    (line,) = lines("experiment=bad", config_dir=tmp_path)
    assert line.startswith(f"{bad}, line 3: not YAML")


def test_keys_of_a_class_of_the_users_own_may_be_added(tmp_path):
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "callbacks" / "shout.yaml").write_text("shout:\n  _target_: mine.Shout\n  loudness: 3\n")
    for key, hint in (("word", "+callbacks.shout.word=VALUE adds it."),
                      ("loudnes", "Did you mean callbacks.shout.loudness?")):  # fmt: skip
        (line,) = lines("callbacks=shout", f"callbacks.shout.{key}=hi", config_dir=tmp_path)
        assert line == f"callbacks.shout.{key}: no such key. {hint}"


@pytest.mark.parametrize(
    ("sweep", "first"),
    [("optimizer.lr=interval(0.1,1)", "optimizer.lr=0.1"), ("optimizer=glob(ada*)", "optimizer=adam"),
     ("seed=3,4", "seed=3"), ("seed=range(5,9)", "seed=5"), ("seed=7", "seed=7"), ("seed=[1", "seed=[1")],
)  # fmt: skip
def test_a_sweep_is_explained_by_its_first_value(sweep, first):
    assert explain.first_of_sweep(sweep) == first


def test_an_explanation_that_fails_hides_no_cause(monkeypatch):
    monkeypatch.setattr(explain, "first_of_sweep", lambda *_: 1 / 0)
    assert explain.explain(ValueError("the cause\nfull_key: a"), ["seed=1"]) == ["the cause"]


@pytest.mark.parametrize(
    ("sweeper", "mode", "lines"),
    [
        ({"direction": "minimize"}, "min", []),
        ({"direction": "minimize"}, "max", ["hydra.sweeper.direction=minimize: mode=max says which loss/val is better; "
                                            "use hydra.sweeper.direction=maximize"]),
        ({"optim": {"maximize": True}}, "min", ["hydra.sweeper.optim.maximize=true: mode=min says which loss/val is "
                                                "better; use hydra.sweeper.optim.maximize=false"]),
        ({"ax_config": {"experiment": {"minimize": True}}}, "min", []),
        ({"direction": ["minimize", "maximize"]}, "max", []),
        ({}, "max", []),
    ],
)  # fmt: skip
def test_another_sweeper_that_looks_for_the_worst_is_found(sweeper, mode, lines):
    assert list(opposed(OmegaConf.create(sweeper), mode, "loss/val")) == lines


@pytest.mark.parametrize("wrong", ["data.path=a(b.csv", "data.path='a", "data.pth=x.csv"])
def test_what_follows_from_a_wrong_override_is_not_said(wrong):
    (line,) = lines("data=series", wrong, "data.target=OT")
    assert line.startswith(f"{wrong.partition('=')[0]}")


@pytest.mark.parametrize(
    "key", ["ckpt_path", "+ckpt_path", "trainer.ckpt_path", "+trainer.resume_from_checkpoint"]
)
def test_a_checkpoint_to_go_on_from_is_what_resume_is_for(key):
    with pytest.raises(
        UserError, match=r"no such key. The same command goes on .* resume=RUN trains a finished one"
    ):
        check(compose([f"{key}=x.ckpt"]))


def test_from_python_a_sweep_is_not_told_of_multirun():
    (line,) = lines("seed=1,2")
    assert "call it for each value" in line and "--multirun" not in line
    with pytest.raises(UserError, match=r"\['seed=1'\]: an override is text, such as 'seed=3'; a list"):
        compose([["seed=1"]])


def test_a_files_fault_names_the_file(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "data").mkdir()
    first, second, waves = (
        tmp_path / name for name in ("experiment/a.yaml", "experiment/b.yaml", "data/w.yaml")
    )
    first.write_text("# @package _global_\ndefaults: [sine]\nmodel: {hidden_size: -3, hiden: 4}\nseed: x\n")
    second.write_text("# @package _global_\ndefaults: [a]\ntrainer: {max_epochs: -7}\n")
    waves.write_text("defaults: [sine]\nn_points: 1\n")

    def said(*overrides):
        with pytest.raises(UserError) as caught:
            check(compose(overrides, tmp_path), overrides, tmp_path)
        return dict(line.split(": ", 1) for line in map(str, caught.value.args))

    found = said("experiment=b", "optimizer.lr=-1")
    assert found["model.hidden_size=-3"].endswith(f"(in {first})") and found["model.hiden"].endswith(
        f"(in {first})"
    )
    assert found["trainer.max_epochs=-7"].endswith(f"(in {second})")
    assert "(in" not in found["optimizer.lr=-1"] and found["seed=x"].endswith(f"(in {first})")
    assert "data.seed=x" not in found  # which is ${seed}
    assert "(in" not in said("experiment=b", "model.hidden_size=-4")["model.hidden_size=-4"]
    assert said("data=w")["data.n_points=1"].endswith(f"(in {waves})")


def test_a_fault_in_local_settings_names_their_file(tmp_path):
    (tmp_path / "local").mkdir()
    file = tmp_path / "local" / "default.yaml"
    file.write_text("# @package _global_\nmodel: {hiden_size: 4}\noptimizer: {lr: -1}\n")
    with pytest.raises(UserError) as caught:
        check(compose([], tmp_path), [], tmp_path)
    found = dict(line.split(": ", 1) for line in map(str, caught.value.args))
    assert found["model.hiden_size"] == f"no such key. Did you mean model.hidden_size? (in {file})"
    assert found["optimizer.lr=-1"].endswith(f"(in {file})")


def test_a_fault_in_an_experiment_of_rnnlab_names_its_file(tmp_path):
    sine = config_folder() / "experiment" / "sine.yaml"
    line = "data.noise_std: no such key. data=sine has it, data=chars has not."

    def said(*overrides, folder=None):
        with pytest.raises(UserError) as caught:
            check(compose(overrides, folder), overrides, folder)
        return list(caught.value.args)

    asked = ["data=chars", "model=char_lm"]
    assert said("experiment=sine", *asked) == [f"{line} (in {sine})"]
    assert said("experiment=sine", *asked, "data.noise_std=0.2") == [line]  # the override is to blame
    (tmp_path / "experiment").mkdir()
    for name in ("sine", "mine"):
        file = tmp_path / "experiment" / f"{name}.yaml"
        file.write_text("# @package _global_\ndefaults: [sine]\ndata: {noise_std: 0.3}\n")
    assert said("experiment=mine", *asked, folder=tmp_path) == [f"{line} (in {file})"]
    assert said("experiment=sine", *asked, folder=tmp_path) == [
        f"{line} (in {sine})"
    ]  # the file that Hydra takes
    file.write_text("# @package _global_\ndefaults: [sine]\n")
    assert said("experiment=mine", *asked, folder=tmp_path) == [f"{line} (in {sine})"]


def test_a_value_that_a_file_demands_is_not_set_by_it(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text("defaults: [series]\npath: ???\n")
    with pytest.raises(UserError) as caught:
        check(compose(["data=mine"], tmp_path), ["data=mine"], tmp_path)
    assert caught.value.args[0] == "data.path is required: a file"
