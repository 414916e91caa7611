"""Every value is typed and checked, and every problem gets a line."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from rnnlab.cli import main
from rnnlab.config import check, compose
from rnnlab.errors import UserError


def lines(*overrides, config_dir=None):
    with pytest.raises(UserError) as caught:
        check(compose(overrides, config_dir))
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ("model.hidden_size=-3", "model.hidden_size=-3: must be a whole number of at least 1"),
        ("model.hidden_size=2.5", "model.hidden_size=2.5: must be a whole number of at least 1"),
        ("model.hidden_size=true", "model.hidden_size=true: must be a whole number of at least 1"),
        ("model.hidden_size=many", "model.hidden_size=many: must be a whole number of at least 1"),
        ("model.hidden_size=null", "model.hidden_size=null: must be a whole number of at least 1"),
        ("model.cell=lstn", "model.cell=lstn: no such cell. Did you mean lstm?"),
        ("model.loss=msee", "model.loss=msee: no such loss. Did you mean mse?"),
        ("model.init_scale=0", "model.init_scale=0: must be a number above 0 or null"),
        ("model.bidirectional=1", "model.bidirectional=1: must be true or false"),
        ("resume=", "resume=: is empty; it names a finished run's folder"),
        ("optimizer.lr=.nan", "optimizer.lr=.nan: must be a number of at least 0"),
        ("optimizer.lr=inf", "optimizer.lr=inf: must be a number of at least 0"),
        ("mode=mn", "mode=mn: no such mode. Did you mean min?"),
        ("+model.hiden_size=3", "model.hiden_size: no such key. Did you mean model.hidden_size?"),
        ("+data.segment=3", "data.segment: no such key. data=chars has it, data=sine has not."),
        ("~data.window", "data.window: is missing; conf/ lists all keys of data"),
        ("~model", "model: is missing from the config"),
        (
            "name=../x",
            "name=../x: must be a folder's name inside paths.outputs, such as sine or notebook/sine",
        ),
        (
            "trainer.max_epochs=-2",
            "trainer.max_epochs=-2: must be a whole number of at least 0, or -1 for no limit",
        ),
        ("trainer.accelerator=tpu", "trainer.accelerator=tpu: no such accelerator. Did you mean gpu?"),
        (
            "trainer.limit_val_batches=1.5",
            "trainer.limit_val_batches=1.5: "
            "must be a whole number of batches, a share from 0.0 to 1.0, or null",
        ),
        ("trainer.gradient_clip_val=0", "trainer.gradient_clip_val=0: must be a number above 0 or null"),
        (
            "trainer.max_time=1h",
            "trainer.max_time=1h: must be DD:HH:MM:SS, such as 00:12:00:00 for half a day",
        ),
        (
            "+trainer.logger=true",
            "trainer.logger: loggers are a group of their own, such as logger=[tensorboard,csv]",
        ),
        ("+trainer.stategy=ddp", "trainer.stategy: no such key. Did you mean trainer.strategy?"),
        (
            "+callbacks.x.y=3",
            "callbacks.x: has no _target_, the class to build; choose one with callbacks=NAME",
        ),
        ("seed=-1", "seed=-1: must be a whole number from 0 to 2^63 - 1"),
        (
            f"data.batch_size={10**30}",
            f"data.batch_size={10**30}: is too large; the largest whole number is 2^63 - 1",
        ),
        (
            f"trainer.limit_val_batches={10**30}",
            f"trainer.limit_val_batches={10**30}: is too large; the largest whole number is 2^63 - 1",
        ),
    ],
)
def test_one_value(overrides, line):
    found = lines(overrides)
    assert line in found and len(found) <= 2  # a wrong seed is wrong in data.seed, too


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["data.fractions=[.5,.4]"],
            "data.fractions=[0.5,0.4]: must be three numbers: the shares of training, validation and test",
        ),
        (
            ["data.fractions=[.5,.4,.2]"],
            "data.fractions=[0.5,0.4,0.2]: the three shares must sum to 1, not to 1.1",
        ),
        (["data.fractions=[0,1,0]"], "data.fractions=[0,1,0]: training needs a share above 0"),
        (
            ["data.amplitudes=[1,2]"],
            "data.amplitudes=[1.0,2.0]: 2 amplitudes for 1 frequencies; "
            "every component of data.frequencies has one",
        ),
        (
            ["data.n_points=120", "data.fractions=[.7,.3,0]", "data.window=37"],
            "data.n_points=120: the validation part gets 36 of them, "
            "and a window of 37 with a horizon of 1 needs 38",
        ),
        (
            ["model.nonlinearity=relu", "model.cell=lstm"],
            "model.nonlinearity=relu: only model.cell=elman has it, not lstm",
        ),
        (["model.huber_delta=0.5"], "model.huber_delta=0.5: only model.loss=huber has it, not mse"),
        (
            ["model.quantiles=[0.2,0.8]"],
            "model.quantiles=[0.2,0.8]: only model.loss=quantile has them, not mse",
        ),
        (
            ["model.forget_bias=1"],
            "model.forget_bias=1.0: elman has no forget gate; set it to null (these cells have one: janet, "
            "layernormlstm, lstm, mgu, minlstm, multiplicativelstm, peepholelstm, qrnn, slstm, sru)",
        ),
        (
            ["model.dropout=0.1"],
            "model.dropout=0.1: acts between two layers, and model.num_layers is 1; "
            "set it to 0 or add a layer",
        ),
        (
            ["model.zoneout_cell=0.1"],
            "model.zoneout_cell=0.1: elman has one state; these cells have more: cornn, layernormlstm, lem, lstm, "
            "multiplicativelstm, peepholelstm, qrnn, slstm",
        ),
        (
            ["model.zoneout=0.1", "model.cell=slstm"],
            "model.zoneout=0.1: the other states of slstm make sense only together, and zoneout keeps each by "
            "itself; set model.zoneout_cell=0",
        ),
        (
            ["model.recurrent_dropout=0.1", "model.cell=indrnn"],
            "model.recurrent_dropout=0.1: indrnn has no matrix of recurrent weights; use model.zoneout",
        ),
        (
            ["model.zoneout=0.1", "model.engine=torch"],
            "model.engine=torch: torch's layers have neither recurrent dropout nor zoneout; set it to auto",
        ),
        (
            ["data=chars", "model.bidirectional=true"],
            "model.bidirectional=true: a language model cannot read the future; set it to false",
        ),
        (
            ["model.cell=fractions.Cell", "model.init=torch"],
            "model.init=torch: torch has a layer for elman, gru, lstm, not for fractions.Cell",
        ),
        (["data=chars", "model=forecaster"], "model: forecaster does not fit data=chars; use model=char_lm"),
        (["model=classifier"], "model: classifier does not fit data=sine; use model=forecaster"),
        (["data=tokens", "data.min_length=50"], "data.min_length=50: is more than data.max_length=40"),
        (
            ["data=tokens", "data.vocab_size=41"],
            "data.vocab_size=41: 2 classes with 20 markers each, "
            "the padding and one filler token need at least 42",
        ),
        (
            ["trainer.max_epochs=-1"],
            "trainer.max_epochs=-1: the run would never end; limit max_epochs, max_steps or max_time",
        ),
        (
            ["scheduler=cosine", "scheduler.warmup_steps=9", "scheduler.total_steps=5"],
            "scheduler.warmup_steps=9: is more than scheduler.total_steps=5",
        ),
        (
            ["scheduler.warmup_steps=9", "trainer.max_steps=5"],
            "scheduler.warmup_steps=9: is more than trainer.max_steps=5",
        ),
        (
            ["optimizer=sgd", "optimizer.nesterov=true"],
            "optimizer.nesterov=true: needs optimizer.momentum above 0 and optimizer.dampening=0",
        ),
        (
            ["model.cell=nosuchpackage.Cell"],
            "model.cell=nosuchpackage.Cell: there is no Python module nosuchpackage; "
            "is its folder on PYTHONPATH?",
        ),
        (
            ["trainer.devices=[0,1]", "trainer.accelerator=cpu"],
            "trainer.devices=[0,1]: a list selects GPUs (trainer.accelerator=gpu); otherwise give a number",
        ),
        (
            ["trainer.threads=1000000000"],
            "trainer.threads=1000000000: must be a whole number from 1 to 1,024 or null",
        ),
        (["trainer.devices=500"], "trainer.devices=500: at most 128 processes train a run together"),
        (
            ["trainer.devices=2", "trainer.accelerator=mps"],
            "trainer.devices=2: a Mac has one GPU; set it to 1",
        ),
        (
            ["trainer.devices=2", "+trainer.strategy=fsdp"],
            "trainer.strategy=fsdp: with trainer.devices=2 rnnlab trains by ddp, which auto takes",
        ),
        (
            ["+trainer.num_nodes=2"],
            "trainer.num_nodes=2: a run trains on one machine; sweep.pool=slurm trains several runs on several",
        ),
    ],
)
def test_rules_between_values(overrides, line):
    assert lines(*overrides) == [line]


def test_windows_need_no_room_in_each_part():
    assert check(compose(["data.n_points=120", "data.split=windows"]))["data"]["n_points"] == 120


def test_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sales.csv").write_text("a\n1\n")
    data = ["data=series", "data.target=a"]
    assert lines(*data, "data.path=sale.csv") == ["data.path=sale.csv: no such file. Did you mean sales.csv?"]
    assert lines(*data, "data.path=.") == ["data.path=.: is not a file"]
    assert lines("model.init_from=sales.csv") == ["model.init_from=sales.csv: is not a folder"]
    assert check(compose([*data, "data.path=sales.csv"]))["data"]["path"] == "sales.csv"
    other = os.fsdecode(b"s\xff.csv")  # a name that is not UTF-8
    try:
        Path(other).write_text("a\n1\n")
    except OSError:  # this file system takes none
        return
    (line,) = lines(*data, f"data.path='{other}'")
    assert "its name is not UTF-8" in line


def test_required_values():
    assert lines("data=series") == [
        "data.path is required: a file",
        "data.target is required: a column's name or a list of names",
    ]


@pytest.mark.parametrize(
    ("text", "options", "names"),
    [
        ("date,load,price\n1,2,3\n", [], "date, load, price"),
        ('\ufeff"a, b";c;d\n1;2;3\n', [], "a, b, c, d"),
        ("a,b|c\n1|2\n", ["data.delimiter=|"], "a,b, c"),
        ("a\tb\n", [r"data.delimiter=\t"], "a, b"),
        (",".join(f"c{i}" for i in range(30)), [], ", ".join(f"c{i}" for i in range(20)) + " and 10 more"),
    ],
)
def test_a_target_that_is_missing_is_chosen_from_the_columns_of_the_file(tmp_path, text, options, names):
    (tmp_path / "load.csv").write_text(text, encoding="utf-8")
    path = tmp_path / "load.csv"
    required = "data.target is required: a column's name or a list of names"
    assert lines("data=series", f"data.path={path}", *options) == [f"{required}; {path} has {names}"]
    path.write_bytes(b"\xff\xfe\x00")
    assert lines("data=series", f"data.path={path}") == [required]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "data.window=${data.horizonn}",
            "data.window=${data.horizonn}: there is no key data.horizonn. Did you mean data.horizon?",
        ),
        ("notes=${oc.env:NO_SUCH}", "notes=${oc.env:NO_SUCH}: the environment variable NO_SUCH is not set"),
        ("seed=${magic:1}", "seed=${magic:1}: there is no resolver magic"),
    ],
)
def test_bad_references_are_said_once(override, line):
    assert lines(override) == [line]


def test_all_problems_are_listed():
    found = lines(
        "model.hidden_size=-3", "model.cell=lstn", "mode=mn", "trainer.max_epochs=true", "data.window=0"
    )
    assert len(found) == 5


def test_values_come_typed_and_plain():
    overrides = (
        "optimizer.lr='1e-3' model.hidden_size=16.0 model.init_scale=1 trainer.precision=64 "
        "trainer.limit_val_batches=1 trainer.limit_test_batches=1.0 notes=2024"
    )
    config = check(compose(overrides.split()))
    assert (config["optimizer"]["lr"], config["model"]["hidden_size"]) == (1e-3, 16)
    assert type(config["model"]["hidden_size"]) is int and type(config["model"]["init_scale"]) is float
    assert (config["trainer"]["precision"], config["notes"]) == ("64-true", "2024")
    assert type(config["trainer"]["limit_val_batches"]) is int  # one batch
    assert type(config["trainer"]["limit_test_batches"]) is float  # all of them
    assert config["data"]["seed"] == 0 and "hydra" not in config
    assert type(config) is dict and type(config["data"]["fractions"]) is list


def test_a_users_own_class_takes_any_key(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "waves.yaml").write_text("_target_: mypackage.Waves\nheight: 3\nmore: {deep: [1]}\n")
    config = check(compose(["data=waves", "optimizer._target_=my.Opt", "+optimizer.mu=3"], tmp_path))
    assert config["data"] == {"_target_": "mypackage.Waves", "height": 3, "more": {"deep": [1]}}
    assert config["optimizer"]["mu"] == 3
    # and yet the key of ours is checked
    own = "scheduler={_target_:my.Schedule,interval:steps}"
    assert lines(f"++{own}") == ["scheduler.interval=steps: no such interval. Did you mean step?"]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model._target_=rnnlab.tasks.forecaster.Forecaster", "this class is called rnnlab.tasks.Forecaster"),
        ("data._target_=rnnlab.data.sine.Sine", "this class is called rnnlab.data.Sine"),
        (
            "model._target_=rnnlab.Task",
            "rnnlab has no such class for model. Possible: rnnlab.tasks.CharLM, rnnlab.tasks.Classifier, "
            "rnnlab.tasks.Forecaster. Or a class of yours by its dotted path.",
        ),
        ("data._target_=rnnlab.data.Seris", "rnnlab has no such class for data. Did you mean rnnlab.data.Series?"),
    ],
)  # fmt: skip
def test_a_class_of_rnnlab_that_is_not_for_this_key(override, line):
    assert lines(override) == [f"{override}: {line}"]


def test_classes_of_rnnlab_without_a_schema():
    given = "data={_target_:rnnlab.runs.objects.given,key:'1',what:Mine,why:x}"
    assert check(compose([f"++{given}"]))["data"]["what"] == "Mine"


def test_an_experiment_without_its_package_line(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "e.yaml").write_text("seed: 3\n")
    (line,) = lines("experiment=e", config_dir=tmp_path)
    assert (
        line
        == "experiment: no such key. A file of conf/experiment begins with the line '# @package _global_'."
    )


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_logger_whose_package_is_not_there_is_refused_before_anything_is_trained(
    name, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / name).mkdir()  # as wandb itself leaves one
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert lines(f"logger={name}") == [f"logger.{name}: {name} is not installed: pip install {name}"]
    (tmp_path / name / "__init__.py").touch()
    importlib.invalidate_caches()
    assert check(compose([f"logger={name}"]))["logger"]


@pytest.mark.parametrize("command", [["train"], ["train", "-m"]])
def test_a_hidden_size_beside_model_equal_is_refused(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = "model.hidden_size: model.equal chooses it; leave one of the two out"
    asked = ["experiment=sine", "model.equal=parameters:400", "model.hidden_size=8"]
    assert main([*command, *asked]) == 2 and said in "".join(capsys.readouterr())
    assert not (tmp_path / "outputs").exists()


def test_two_ways_to_say_when_to_validate_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = ["experiment=sine", "trainer.val_check_interval=1", "trainer.val_every_n_steps=5"]
    assert main(["train", *asked]) == 2
    assert "leave one of the two out, or set trainer.val_check_interval=null" in capsys.readouterr().err
