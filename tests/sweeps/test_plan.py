"""Every planned config is the one that Hydra composes and `check` reads."""

import copy
import random
from collections import Counter

import pytest
from omegaconf import OmegaConf

from rnnlab.cells import CATALOGUE
from rnnlab.config import base_config, check, compose, deciding
from rnnlab.errors import UserError
from rnnlab.runs.identity import leaves
from rnnlab.runs.run_path import place
from rnnlab.sweeps import template
from rnnlab.sweeps.grid import grid
from rnnlab.sweeps.planner import Planner
from rnnlab.sweeps.probe import import_errors
from rnnlab.sweeps.template import Template

GROUPS = {"experiment", "model", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger", "debug"}


def cpu(asked):
    if asked not in ("auto", "cpu"):
        raise UserError(f"trainer.accelerator={asked}: there is none")
    return "cpu"


def made(*arguments, excluded=(), config_dir=None, **options):
    found = grid(arguments, GROUPS.__contains__, **options)
    planner = Planner(
        lambda o: compose(o, config_dir), lambda o: base_config(o, config_dir, choices=True), cpu
    )
    return planner.plan(found, excluded)


def reference(overrides, config_dir=None):
    config = check(compose(overrides, config_dir))
    config.pop("sweep")
    config["trainer"]["accelerator"] = "cpu"
    bases = (leaves(deciding(base_config(overrides, config_dir, choices=c))) for c in (False, True))
    return config, place(config, deciding(config), *bases)


def assert_as_hydra(plan, n=8, config_dir=None):
    for planned in random.Random(0).sample(plan.runs, min(n, len(plan.runs))):
        config, where = reference(planned.overrides, config_dir)
        assert planned.config == config, planned.overrides
        assert planned.place == where


@pytest.mark.parametrize(
    "arguments",
    [
        ["experiment=sine", "model.hidden_size=16,32.0", "optimizer.lr=1e-3,2", "seed=range(0,4)"],
        ["experiment=sine,notebook/sine_windows", "monitor=loss/val,metric/mse", "mode=min,max",
         "scheduler=plateau,cosine", "callbacks=early_stopping,none"],
        ["data=sine", "model.cell=elman,gru,lstm", "optimizer=adam,sgd", "optimizer.lr=0.1,0.01",
         "model.bias=both,one"],
        ["trainer.gradient_clip_val=null,1,0.5", "callbacks=early_stopping", "callbacks.early_stopping.patience=3,5",
         "trainer.limit_val_batches=1,1.0", "name=a,b/c", "tags=[x],[y,z]"],
        ["experiment=sine", "+trainer.strategy=auto,ddp", "+optimizer.amsgrad=false,true", "~callbacks.pictures",
         "data.amplitudes=[1,2],[1.5,0.5]", "data.frequencies=[1,3]", "data.seed=7", "seed=0,1"],
        ["callbacks=early_stopping", "callbacks.early_stopping=null,{patience:7}", "seed=1,2"],
        ["optimizer._target_=torch.optim.NAdam,torch.optim.Adam", "optimizer.lr=1e-3,1e-2"],
        # what `auto` and `equal` come to depends on other keys
        ["experiment=shakespeare", "model.cell=elman,lstm,gru", "seed=0,1"],
        ["model.cell=lstm,gru", "model.forget_bias=auto,null", "model.equal=parameters:500,parameters:900,null"],
    ],
)  # fmt: skip
def test_a_planned_config_is_what_a_single_run_would_get(arguments):
    plan = made(*arguments)
    assert plan.runs and not plan.invalid
    assert_as_hydra(plan)


CHOICES = (
    "model.hidden_size=4,8,16.0", "model.num_layers=1,2", "model.cell=elman,gru,lstm,lem", "model.dropout=0,0.5",
    "model.forget_bias=auto,null", "model.equal=parameters:500,null", "model.bias=both,one", "optimizer=adam,sgd,adamw",
    "optimizer.lr=0.1,1e-3,0.001", "+optimizer.amsgrad=false,true", "scheduler=cosine,none", "seed=range(0,3)",
    "data.seed=7,0", "data.noise_std=0.1,0.2", "data.fractions=[0.8,0.1,0.1],[0.6,0.2,0.2]", "data.batch_size=16,32",
    "notes=1,1.0",
    "trainer.max_steps=100,5", "trainer.accelerator=auto,cpu", "trainer.gradient_clip_val=null,1,0.5", "name=a,b/c",
    "trainer.limit_val_batches=1,1.0", "callbacks=early_stopping,none", "monitor=loss/val,metric/mse", "tags=[x],[y,z]",
    "~callbacks.pictures", "paths.outputs=o1,o2", "checkpoint.every_n_steps=5,null",
)  # fmt: skip


@pytest.mark.parametrize("number", range(4))
def test_random_grids_are_planned_as_hydra_composes_them(number):
    random_ = random.Random(number)
    plan = made("experiment=sine", *random_.sample(CHOICES, 6))
    assert plan.runs
    assert_as_hydra(plan, 6)


def test_what_depends_on_some_keys_is_made_once_for_each_of_their_values(monkeypatch):
    made_of, decided = [], []
    make, deciding_of = Template._make, template.deciding_of
    monkeypatch.setattr(Template, "_make", lambda self, s, p: made_of.append(s.name) or make(self, s, p))
    monkeypatch.setattr(
        template,
        "deciding_of",
        lambda values, nodes: decided.append([*values][-1]) or deciding_of(values, nodes),
    )
    plan = made("experiment=sine", "model.hidden_size=4,8", "model.num_layers=1,2", "optimizer.lr=0.1,0.2,0.3",
                "data.noise_std=0.1,0.2", "seed=range(0,10)")  # fmt: skip
    assert len(plan.runs) == 240
    assert Counter(made_of) == {"model": 4, "optimizer": 3, "data": 20, "": 10}
    top = plan.runs[0].template.values
    # of the keys in no section
    last = [name for name, value in top.items() if not isinstance(value, dict)][-1]
    sections = Counter({name: 1 for name, value in top.items() if isinstance(value, dict)})
    assert Counter(decided) == sections | {"model": 4, "optimizer": 3, "data": 20, last: 10}
    assert len({r.place.group for r in plan.runs}) == 24


OWN = """# @package _global_
name: own-${model.cell}-${model.hidden_size}
notes: ${shout:${seed}} ${optimizer.lr}
tags: ["${model.cell}", "fixed", "${.0}"]
monitor: ${.notes_key}
notes_key: loss/val
data:
  window: ${double:${model.hidden_size}}
  n_points: ${my.points}
  seed: ${second}
  t_max: ${oc.env:OWN_T_MAX,50}
optimizer:
  weight_decay: ${.lr}
scheduler:
  warmup_steps: ${seed}
second: ${seed}
my: {points: "${triple:${data.batch_size}}", all: "${model}"}
"""


def test_interpolations_and_resolvers_of_a_users_own_are_resolved_for_every_point(tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    text = OWN.replace("monitor: ${.notes_key}\nnotes_key: loss/val\n", "")
    text = text.replace("second: ${seed}\n", "").replace("${second}", "${seed}")
    text = text.replace('my: {points: "${triple:${data.batch_size}}", all: "${model}"}\n', "")
    text = text.replace("${my.points}", "${triple:${data.batch_size}}")
    (tmp_path / "experiment" / "own.yaml").write_text(text)
    monkeypatch.setenv("OWN_T_MAX", "70")
    for name, function in (
        ("shout", lambda s: f"<{s}>"),
        ("double", lambda n: 2 * n),
        ("triple", lambda n: 30 * n),
    ):
        OmegaConf.register_new_resolver(name, function, replace=True)
    plan = made("experiment=own", "seed=0,1,5", "model.hidden_size=8,9", "optimizer.lr=0.1,0.02", "model.cell=gru,lstm",
                "data.batch_size=16,20", config_dir=tmp_path)  # fmt: skip
    assert len(plan.runs) == 48
    assert_as_hydra(plan, 10, tmp_path)
    config = plan.runs[-1].config
    assert config["name"] == "own-lstm-9" and config["data"]["window"] == 18
    assert config["notes"] == "<5> 0.02" and config["data"]["n_points"] == 600


def test_a_section_that_copies_a_swept_one_is_planned(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(
        "# @package _global_\ndefaults: [sine]\n"
        "model: {_target_: mine.Net, options: {a: 1, b: 2}}\n"
        "data: {_target_: mine.Data, of_model: '${model.options}'}\n"
    )
    plan = made("experiment=own", "model.options.a=1,3", config_dir=tmp_path)
    assert [planned.config["data"]["of_model"] for planned in plan.runs] == [
        {"a": 1, "b": 2},
        {"a": 3, "b": 2},
    ]
    assert_as_hydra(plan, 2, tmp_path)


def test_an_experiment_that_demands_choices_is_planned_with_those_of_each_point(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "open.yaml").write_text(
        "# @package _global_\ndefaults: [{override /data: '???'}, {override /callbacks: '???'}]\nname: open\n"
    )
    asked = ("experiment=open", "data=sine,chars", "callbacks=none", "seed=0,1")
    plan = made(*asked, config_dir=tmp_path)
    assert len(plan.runs) == 4 and not plan.invalid
    assert_as_hydra(plan, config_dir=tmp_path)
    with pytest.raises(UserError, match="experiment=open: You must specify '"):
        base_config(["experiment=open"], tmp_path)


def test_configs_do_not_share_what_changes():
    plan = made("experiment=sine", "model.hidden_size=4,8", "seed=0,1")
    kept = [copy.deepcopy(r.config) for r in plan.runs]
    assert [r.config for r in plan.runs] == kept
    assert [(c["model"]["hidden_size"], c["data"]["seed"]) for c in kept] == [(4, 0), (4, 1), (8, 0), (8, 1)]


def test_equal_sections_are_one_object_and_no_config_is_made_twice(monkeypatch):
    plan = made("experiment=sine", "model.hidden_size=4,8", "optimizer.lr=1e-3,1e-2", "seed=0,1,2")
    sections = {
        name: {id(r.config[name]) for r in plan.runs} for name in ("model", "data", "optimizer", "trainer")
    }
    assert {name: len(found) for name, found in sections.items()} == {
        "model": 2,
        "data": 3,
        "optimizer": 2,
        "trainer": 1,
    }
    monkeypatch.setattr(Template, "config", None)
    assert [r.config["seed"] for r in plan.runs] == [0, 1, 2] * 4


def test_the_longest_runs_are_due_first_and_finished_ones_are_not_due():
    plan = made("experiment=sine", "model.hidden_size=4,64,16", "seed=0,1")
    widths = [r.config["model"]["hidden_size"] for r in plan.due(rerun_stale=False)]
    assert widths == [64, 64, 16, 16, 4, 4]
    plan.runs[2].status = plan.runs[3].status = plan.runs[4].status = "finished"
    plan.runs[3].stale, plan.runs[4].again = ("torch",), True
    plan.runs[5].why_skipped = "no such device"
    assert [plan.runs.index(r) for r in plan.due(rerun_stale=False)] == [4, 0, 1]
    assert [plan.runs.index(r) for r in plan.due(rerun_stale=True)] == [3, 4, 0, 1]


def test_bad_points_are_listed_with_the_words_of_a_single_run():
    plan = made(
        "experiment=sine",
        "model.hidden_size=16,-1",
        "model.num_layers=1,2",
        "model.dropout=0,0.5",
        "seed=0,1",
    )
    assert len(plan.runs) == 6 and len(plan.invalid) == 10
    for point, lines in plan.invalid:
        with pytest.raises(UserError) as refused:
            check(compose([a.text for a in point]))
        assert str(refused.value).splitlines() == lines


def test_a_first_point_that_is_wrong_does_not_spoil_the_others():
    plan = made("experiment=sine", "model.hidden_size=-1,0,8", "optimizer.lr=0.1,nan")
    assert [r.overrides[1:] for r in plan.runs] == [["model.hidden_size=8", "optimizer.lr=0.1"]]
    assert len(plan.invalid) == 5


def test_each_class_that_a_key_names_is_looked_for():
    plan = made("experiment=sine", "optimizer._target_=nowhere.First,torch.optim.Adam,nowhere.Second")
    plan.check_classes(import_errors)
    assert [point[-1].value for point, _ in plan.invalid] == ["nowhere.First", "nowhere.Second"]
    assert [planned.config["optimizer"]["_target_"] for planned in plan.runs] == ["torch.optim.Adam"]


def test_a_choice_that_does_not_compose_is_one_bad_point_among_others():
    plan = made("experiment=sine", "optimizer=adam,adamm", "seed=0,1")
    assert len(plan.runs) == 2
    assert [lines for _, lines in plan.invalid] == [
        ["optimizer=adamm: no such choice. Did you mean adam?"]
    ] * 2
    plan = made("experiment=sine", "model.hiden_size=4,8")
    assert [lines for _, lines in plan.invalid] == [
        ["model.hiden_size: no such key. Did you mean model.hidden_size?"]
    ] * 2


def test_grammar_choices_ranges_intervals_and_pairs():
    def values(*arguments, **options):
        return [tuple(a.value for a in point) for point in grid(arguments, GROUPS.__contains__, **options)]

    assert values("seed=range(0,3)", "x=a,b") == [(i, x) for i in range(3) for x in "ab"]
    assert values("x=choice(1,2)", "x=5") == [(5,)]
    assert values("x=1,2", "++x=5") == [(5,)] and values("++x=5", "y=1") == [(5, 1)]
    assert values("x=interval(0,1)", intervals=3) == [(0.0,), (0.5,), (1.0,)]
    assert values("x=tag(log,interval(1e-4,1e-2))", intervals=3) == [(1e-4,), (1e-3,), (1e-2,)]
    assert values("x=int(interval(1,4))", intervals=10) == [(1,), (2,), (3,), (4,)]
    assert values("a=1,2", "s=0,1", "b=3,4", zipped=[["a", "b"]]) == [
        (1, 3, 0),
        (1, 3, 1),
        (2, 4, 0),
        (2, 4, 1),
    ]
    with pytest.raises(UserError, match="a has 2, b has 3"):
        values("a=1,2", "b=1,2,3", zipped=[["a", "b"]])
    with pytest.raises(
        UserError, match=r"lrr is not swept; give it values, as in lrr=A,B\. Did you mean lr\?$"
    ):
        values("lr=1,2", "b=1,2", zipped=[["lrr", "b"]])
    with pytest.raises(UserError, match="b is in two lists"):
        values("a=1,2", "b=1,2", "c=1,2", zipped=[["a", "b"], ["b", "c"]])
    with pytest.raises(UserError, match="a list in it is empty"):
        values("a=1,2", zipped=[[]])
    with pytest.raises(
        UserError, match=r"glob is only for groups .* such as model\.cell, and model\.hidden_size is neither"
    ):
        values("model.hidden_size=glob(*)")
    for endless in ("1,inf", "nan,3", "1,3,nan", "1,3,step=0", "1,3,step=0.0"):
        with pytest.raises(UserError, match=r"\): a range has finite ends, and a step other than 0"):
            values(f"a=range({endless})")
    for endless in ("0,1e9", "1e9,0,-1", "10000001"):
        with pytest.raises(UserError, match="more than 10,000,000 values"):
            values(f"a=shuffle(range({endless}))")
    assert values("a=range(3,1,-1)") == [(3,), (2,)] and values("a=range(1,2,0.5)") == [(1.0,), (1.5,)]
    assert values("model.cell=glob(*)") == [(cell,) for cell in CATALOGUE]
    assert values("model.cell=glob([*gru,s4d],exclude=min*)") == [("gru",), ("layernormgru",), ("s4d",)]
    assert values("model.init=glob(*or*)") == [("orthogonal",), ("torch",), ("uniform",)]
    with pytest.raises(UserError, match="it has no values"):
        values("seed=range(4,1)")
    with pytest.raises(UserError, match="cannot be swept themselves"):
        values("sweep.workers=1,2")


@pytest.mark.parametrize(
    "excluded",
    [
        ["model.hidden_size=16 model.num_layers=2", "seed=1 model.hidden_size=32,64"],
        [{"model.hidden_size": 16, "model.num_layers": 2}, {"seed": 1, "model.hidden_size": [32, 64]}],
    ],
)
def test_excluded_points(excluded):
    arguments = ("experiment=sine", "model.hidden_size=16,32", "model.num_layers=1,2", "seed=0,1")
    plan = made(*arguments, excluded=excluded)
    assert plan.excluded == 4
    configs = [r.config for r in plan.runs]
    shapes = {(c["model"]["hidden_size"], c["model"]["num_layers"], c["seed"]) for c in configs}
    assert shapes == {(16, 1, 0), (16, 1, 1), (32, 1, 0), (32, 2, 0)}
    assert made(*arguments, excluded=["optimizer.lr=0.003"]).excluded == 8  # a key that is not swept
    assert made(*arguments, excluded=[*excluded, "seed=7"]).unmatched == ["seed=7"]
    with pytest.raises(UserError, match=r"optimizer\.rl: no such key\. Did you mean optimizer\.lr"):
        made(*arguments, excluded=["optimizer.rl=0.003"])
    with pytest.raises(UserError, match="written KEY=VALUE"):
        made(*arguments, excluded=["seed"])


def test_the_same_run_twice_is_one_and_absent_devices_are_skipped():
    plan = made("experiment=sine", "optimizer.lr=1e-3,0.001,0.002", "trainer.accelerator=cpu,auto,gpu")
    assert plan.repeated == 5  # cpu and auto are the same, and so are two of the rates
    assert plan.ineffective() == ["trainer.accelerator=auto"]
    assert made("experiment=sine", "optimizer.weight_decay=0.0,-0.0").repeated == 0  # as two single runs
    assert not made("experiment=sine", "seed=0,1", "optimizer.lr=1e-3,2e-3").ineffective()
    assert [bool(r.why_skipped) for r in plan.runs] == [False, True, False, True]
