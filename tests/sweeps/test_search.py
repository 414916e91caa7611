"""A search: which trials are chosen, which are pruned, what a second command makes of the first one's."""

import errno
import json
import math
import operator
import os
import random
import re
import signal
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest

import rnnlab
import warm
from waiting import until

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: no search is tried")

from rnnlab.cli import main  # noqa: E402
from rnnlab.errors import UserError  # noqa: E402
from rnnlab.runs.run import Run, runs  # noqa: E402
from rnnlab.runs.run_path import Place  # noqa: E402
from rnnlab.runs.sources import rnnlab_sources, torch_version  # noqa: E402
from rnnlab.runs.trials import append, pareto_front, read_journal  # noqa: E402
from rnnlab.sweeps.job import Outcome  # noqa: E402
from rnnlab.sweeps.live import LiveView  # noqa: E402
from rnnlab.sweeps.search import Search, describe, stale_lines  # noqa: E402
from rnnlab.sweeps.searching import alone  # noqa: E402
from rnnlab.sweeps.space import space  # noqa: E402
from rnnlab.sweeps.study import fitted  # noqa: E402

STEPS = 81
OPTIONS = {"search": "random", "objectives": [], "trials": 9, "minutes": None, "prune": "none", "reduction": 3,
           "min_steps": None, "search_order": "fast", "search_batch": 9, "search_seed": 0}  # fmt: skip


def no_group(key):
    return False


def test_a_key_that_is_given_twice_has_its_last_values():
    found = space(["seed=0,1", "lr=interval(0.0,1.0)", "seed=5", "h=8,16", "h=4"], no_group)
    assert found.seeds == () and found.asked == {"seed": "seed=5", "h": "h=4"}
    assert [d.key for d in found.dimensions] == ["lr"]
    found = space(["seed=0,1", "h=8,16", "lr=interval(0.0,1.0)", "++h=4", "++seed=3"], no_group)
    assert found.seeds == () and found.asked == {"++h": "++h=4", "++seed": "++seed=3"}
    assert [d.key for d in found.dimensions] == ["lr"]


@pytest.mark.parametrize("order", ["shuffle({})", "sort({},reverse=true)", "{}"])
def test_the_order_of_a_range_changes_no_search(order):
    (dimension,) = space([f"h={order.format('range(1,20)')}"], no_group).dimensions
    assert (dimension.low, dimension.high, dimension.step) == (1, 19, 1)


def test_the_steps_of_a_range_stay_apart():
    (dimension,) = space(["h=range(1000000.5,1000004.5,1)"], no_group).dimensions
    assert [dimension.assign(1000000.5 + i).value for i in range(4)] == [1000000.5 + i for i in range(4)]
    (tenths,) = space(["h=range(0,1,0.1)"], no_group).dimensions
    assert [tenths.assign(i * 0.1).text for i in (3, 6, 7)] == ["h=0.3", "h=0.6", "h=0.7"]


def test_a_seed_that_is_given_twice_counts_once():
    assert [a.value for a in space(["seed=1,2,1", "lr=interval(0.0,1.0)"], no_group).seeds] == [1, 2]


@pytest.mark.parametrize("line", ["h=range(0.3,1,0.1)", "h=range(0.9,0.25,-0.1)"])
def test_a_range_of_binary_fractions_keeps_its_last_number(line):
    (dimension,) = space([line], no_group).dimensions
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distribution = dimension.distribution()
    assert (distribution.low, distribution.high, distribution.step) == (0.3, 0.9, 0.1)


@pytest.mark.parametrize(
    ("line", "inside", "outside"),
    [
        ("h=range(8,65,8)", ["8", "24", "64", "24.0"], ["20", "20.5", "0", "72", "many"]),
        ("h=int(interval(1,9))", ["1", "5", "9"], ["5.5", "0"]),
        ("h=range(0.1,0.5,0.1)", ["0.1", "0.3", "0.4"], ["0.15", "0.5"]),
        ("h=interval(0.0,1.0)", ["0", "0.123", "1"], ["1.01"]),
    ],
)
def test_a_run_of_before_is_told_where_the_search_could_have_chosen_it(line, inside, outside):
    (dimension,) = space([line], no_group).dimensions
    distribution = dimension.distribution()
    for value in inside:
        found = fitted(dimension, f"h={value}")
        assert found == float(value)
        optuna.create_study().add_trial(
            optuna.create_trial(params={"h": found}, distributions={"h": distribution}, value=1.0)
        )
    assert all(fitted(dimension, f"h={value}") is None for value in outside)


# ---------------------------------------------------------------------- the space


def test_hydras_own_words_for_a_space():
    found = space(["model.hidden_size=8,16", "optimizer.lr=tag(log,interval(1e-4,1e-1))", "data.window=range(5,20,5)",
                   "model.dropout=interval(0.0,0.5)", "model.num_layers=int(interval(1,3))", "seed=1,2",
                   "+x=choice(a,b)", "sweep.trials=3", "trainer.max_steps=10"], no_group)  # fmt: skip
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    assert found.distributions() == {
        "model.hidden_size": CategoricalDistribution(["model.hidden_size=8", "model.hidden_size=16"]),
        "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
        "data.window": IntDistribution(5, 15, step=5),
        "model.dropout": FloatDistribution(0.0, 0.5),
        "model.num_layers": IntDistribution(1, 3),
        "+x": CategoricalDistribution(["+x=a", "+x=b"]),
    }
    params = {"model.hidden_size": "model.hidden_size=16", "optimizer.lr": 0.0123456789, "data.window": 10,
              "model.dropout": 0.25, "model.num_layers": 2, "+x": "+x=b"}  # fmt: skip
    points = [[a.text for a in point] for point in found.points(params)]
    assert points == [["trainer.max_steps=10", "model.hidden_size=16", "optimizer.lr=0.0123457", "data.window=10",
                       "model.dropout=0.25", "model.num_layers=2", "+x=b", f"seed={s}"] for s in (1, 2)]  # fmt: skip
    covering = {a.text for point in found.covering_points() for a in point}
    assert {"optimizer.lr=0.0001", "optimizer.lr=0.1", "model.num_layers=3", "+x=a", "+x=b"} <= covering


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["seed=1,2"], "there is nothing to choose"),
        (["optimizer.lr=interval(0.1,0.01)"], "the first end of an interval must be below the second"),
        (["optimizer.lr=tag(log,interval(0,1))"], "both ends of a logarithmic interval must be above 0"),
        (["sweep.trials=1,2", "seed=1"], "cannot be swept themselves"),
    ],
)
def test_what_is_no_space_is_said_in_a_line(arguments, why):
    with pytest.raises(UserError, match=why):
        space(arguments, no_group)


# ---------------------------------------------------------------------- without a training


class Lab:
    """Trains nothing: a run's curve is a function of its learning rate, and of nothing else."""

    def __init__(self, tmp_path, workers=1, lines=("lr=interval(0.0,1.0)",), **options):
        self.folder, self.workers = tmp_path / "lab", workers
        self.space = space(lines, no_group)
        self.options = OPTIONS | options
        example = self.plan(self.space.covering_points()[0])
        self.search = Search(self.space, self.plan, self.options, example)

    def plan(self, point):
        name = ",".join(a.text for a in point)
        run = Run(self.folder / name)
        config = {"mode": "min", "monitor": "loss/val", "trainer": {"max_steps": STEPS, "max_epochs": -1}}
        place = Place(run.folder, name, "", "")
        return SimpleNamespace(place=place, run=run, config=config, x=float(point[-1].value), accelerator="cpu",
                               overrides=[a.text for a in point], batches=None)  # fmt: skip

    @staticmethod
    def loss(x, step):
        return (x - 0.3) ** 2 + 1 / step

    def run(self, order=lambda running: running.pop(0), stop_after=math.inf):
        """{run: steps that it was trained for}, every run taking its steps three by three."""
        trained, running, ended = {}, [], 0
        while True:
            more = self.search.more(self.workers - len(running))
            running += [(planned, trained.get(planned.place.id, 0)) for planned in more]
            if not running:
                assert not self.search.open
                return trained
            planned, step = order(running)
            why = ""
            while step < STEPS and not why:
                step += 3
                why = self.search.validated(planned, step, self.loss(planned.x, step)) if step < STEPS else ""
            trained[planned.place.id] = step
            best = {"best": {"value": self.loss(planned.x, step), "step": step, "metrics": {}}, "steps": step}
            self.record(planned, "pruned" if why else "finished", best)
            curve = [f"{s},loss/val,{self.loss(planned.x, s)}\n" for s in range(3, step + 1, 3)]
            planned.run.metrics_file.write_text("step,metric,value\n" + "".join(curve))
            ended += 1
            if ended >= stop_after:
                return trained
            record = {"results": best}
            self.search.ended(planned, Outcome(0, "pruned" if why else "finished", why, record))

    def record(self, planned, status, results):
        planned.run.folder.mkdir(parents=True, exist_ok=True)
        about = {
            "id": planned.place.id,
            "experiment": "lab",
            "status": status,
            "created": "",
            "results": results,
        }
        (planned.run.folder / "run.json").write_text(json.dumps(about))

    def journal(self):
        found = read_journal(self.folder / "search.jsonl").trials
        return [{k: v for k, v in one.items() if k not in ("asked", "told")} for one in found]


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    monkeypatch.setattr("rnnlab.sweeps.search.guessed_steps", lambda *_: STEPS)
    monkeypatch.setattr("rnnlab.sweeps.search.first_validation", lambda *_: 1)


def test_halving_compares_a_batch_at_each_rung(tmp_path):
    lab = Lab(tmp_path, prune="halving")
    trained = lab.run()
    # 9 at step 3, 3 at 9, one at 27 and at the end
    assert sorted(trained.values()) == [3] * 6 + [9] * 2 + [STEPS]
    away = {name: abs(float(name.partition("=")[2]) - 0.3) for name in trained}
    assert [trained[name] for name in sorted(trained, key=away.get)] == [STEPS, 9, 9] + [3] * 6


@pytest.mark.parametrize("prune", ["halving", "median", "none"])
def test_in_deterministic_order_trials_depend_on_nothing_but_the_seed(tmp_path, prune):
    found = []
    for i, order in enumerate((lambda r: r.pop(0), lambda r: r.pop(), lambda r: r.pop(len(r) // 2))):
        lab = Lab(tmp_path / str(i), workers=1 + 2 * i, search="tpe", trials=30, search_batch=6, prune=prune,
                  search_order="deterministic")  # fmt: skip
        trained = lab.run(order)
        found.append((lab.journal(), dict(sorted(trained.items()))))
    assert found[0] == found[1] == found[2] and len(found[0][0]) == 30
    states = {one["state"] for one in found[0][0]}
    assert states == ({"complete"} if prune == "none" else {"complete", "pruned"})


@pytest.mark.parametrize("prune", ["asha", "hyperband", "median"])
def test_pruned_are_the_worse_ones_and_early(tmp_path, prune):
    lab = Lab(tmp_path, trials=40, prune=prune)
    trained = lab.run()
    full = [float(n.partition("=")[2]) for n, steps in trained.items() if steps == STEPS]
    short = [float(n.partition("=")[2]) for n, steps in trained.items() if steps < STEPS]
    assert len(full) + len(short) == 40 and len(short) >= 10
    far = [sum(abs(x - 0.3) for x in xs) / len(xs) for xs in (full, short)]
    assert far[0] < far[1]
    assert {one["state"] for one in lab.journal()} == {"complete", "pruned"}


@pytest.mark.parametrize("prune", ["asha", "hyperband", "median", "halving"])
def test_no_run_is_pruned_before_the_step_that_was_asked_for(tmp_path, prune):
    late = Lab(tmp_path / "late", trials=20, prune=prune, min_steps=STEPS + 1).run()
    assert set(late.values()) == {STEPS}  # they have ended before
    early = Lab(tmp_path / "early", trials=40, prune=prune, min_steps=10).run()
    assert min(early.values()) == 12  # the first validation from there on


def test_a_trial_is_worth_the_mean_of_its_seeds_and_wilcoxon_saves_the_later_ones(tmp_path):
    seeds = "seed=" + ",".join(map(str, range(8)))
    lab = Lab(tmp_path, lines=(seeds, "lr=interval(0.0,1.0)"), trials=20, prune="wilcoxon")
    assert not lab.search.judges

    def plan(point):
        planned = Lab.plan(lab, point)
        seed = next(a.value for a in point if a.key == "seed")
        planned.x = next(a.value for a in point if a.key == "lr") + 1e-4 * seed
        return planned

    lab.search.plan_point = plan
    trained = lab.run()
    by_trial = {}
    for name in trained:
        by_trial[name.partition(",")[0]] = by_trial.get(name.partition(",")[0], 0) + 1
    assert len(by_trial) == 20 and max(by_trial.values()) == 8 and len(trained) < 20 * 8
    complete = next(one for one in lab.journal() if one["state"] == "complete")
    lr = float(f"{complete['params']['lr']:.6g}")
    assert complete["value"] == pytest.approx(sum(Lab.loss(lr + 1e-4 * s, STEPS) for s in range(8)) / 8)


@pytest.mark.parametrize(
    "options", [{}, {"prune": "halving"}, {"search_order": "deterministic", "search_batch": 3}]
)
def test_the_same_command_goes_on_with_the_study(tmp_path, options):
    first = Lab(tmp_path, **options)
    before = first.run(stop_after=4)  # the fourth is trained, and the study is not told
    second = Lab(tmp_path, **options)
    after = second.run()
    whole = Lab(tmp_path / "whole", **options)
    expected = whole.run()
    merged = {name: max(before.get(name, 0), after.get(name, 0)) for name in {**before, **after}}
    assert len(merged) == 9 and sorted(merged.values()) == sorted(expected.values())
    assert merged == expected or not options  # in fast order trials depend on which had been told of
    again = [name for name in after if before.get(name) == STEPS]
    assert not again  # nothing that has finished is trained twice
    numbers = [one["number"] for one in second.journal()]
    assert numbers == list(range(9)) and all("state" in one for one in second.journal())
    third = Lab(tmp_path, **options)
    assert third.run() == {}


@pytest.mark.parametrize("prune", ["asha", "hyperband", "median", "wilcoxon"])
def test_a_pruner_compares_with_the_trials_of_an_earlier_command(tmp_path, prune):
    lines = (
        ("seed=0,1,2,3,4,5,6", "lr=interval(0.0,1.0)") if prune == "wilcoxon" else ("lr=interval(0.0,1.0)",)
    )

    def heard(lab):  # but for the last validation, which the lab does not send
        study = lab.search.study.optuna
        values = [{k: v for k, v in t.intermediate_values.items() if k < STEPS} for t in study.trials]
        rungs = [{k: v for k, v in t.system_attrs.items() if "rung" in k} for t in study.trials]
        assert all(values) and any(rungs) is (prune in ("asha", "hyperband"))
        return study.study_name, [t.state for t in study.trials], values, rungs

    first = Lab(tmp_path, lines=lines, prune=prune, trials=20)
    first.run()
    again = Lab(tmp_path, lines=lines, prune=prune, trials=40)
    assert heard(again) == heard(first)


def test_a_trial_that_nothing_judges_is_told_with_its_steps(tmp_path):
    lab = Lab(tmp_path)
    lab.run()
    assert {one["steps"] for one in lab.journal()} == {STEPS}


@pytest.mark.parametrize("status", ["finished", "stopped early"])
def test_runs_that_lie_in_the_folder_already_are_told(tmp_path, status):
    lab = Lab(tmp_path)
    planned = lab.plan(lab.space.points({"lr": 0.25})[0])
    lab.record(planned, status, {"best": {"value": 0.5, "step": 1, "metrics": {}}})
    (planned.run.folder / "overrides.yaml").write_text("- lr=0.25\n")
    search = Lab(tmp_path).search
    assert [(t.params, t.value) for t in search.study.optuna.trials] == [({"lr": 0.25}, 0.5)]


def test_a_space_of_fewer_points_than_trials_ends(tmp_path):
    lab = Lab(tmp_path, lines=("lr=0.1,0.2,0.3",), trials=500, workers=3)
    assert len(lab.run()) == 3


def test_points_that_are_no_runs_fail_and_too_many_in_a_row_end_the_search(tmp_path):
    lab = Lab(tmp_path, trials=20)
    lab.search.plan_point = lambda point: lab.plan(point) if point[-1].value > 0.5 else ["lr: too small"]
    trained = lab.run()
    assert len(trained) == 20 and set(lab.search.refused) == {"lr: too small"}
    lab = Lab(tmp_path / "none")
    lab.search.plan_point = lambda point: ["lr: too small"]
    with pytest.raises(UserError, match="in a row could not be run; the last: lr: too small"):
        lab.run()


def test_in_deterministic_order_a_kill_after_any_run_changes_nothing(tmp_path):
    options = {
        "search": "tpe",
        "trials": 12,
        "search_batch": 4,
        "prune": "median",
        "search_order": "deterministic",
    }
    whole = Lab(tmp_path / "whole", **options)
    expected = whole.run()
    assert {one["state"] for one in whole.journal()} == {"complete", "pruned"}
    for killed_at in range(1, 13):
        before = Lab(tmp_path / str(killed_at), **options).run(stop_after=killed_at)
        second = Lab(tmp_path / str(killed_at), **options)
        after = second.run()
        assert not before.keys() & after.keys()  # what had been pruned is not trained on
        assert before | after == expected
        assert second.journal() == whole.journal()


def test_a_run_that_goes_on_is_judged_step_by_step_as_it_was_before(tmp_path):
    first = Lab(tmp_path, prune="asha")
    first.run(stop_after=1)
    (folder,) = (path.parent for path in first.folder.glob("*/run.json"))
    Run(folder).update(status="running")  # killed under way, after its last checkpoint
    second = Lab(tmp_path, prune="asha")
    (planned,) = second.search.more(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna's about a step that is reported again
        for step in (6, 9):  # the checkpoint was at step 3
            assert second.search.validated(planned, step, Lab.loss(planned.x, step)) == ""
    (trial,) = second.search.study.optuna.trials
    assert trial.intermediate_values == {step: Lab.loss(planned.x, step) for step in (3, 6, 9)}
    assert trial.system_attrs["completed_rung_0"] == Lab.loss(planned.x, 3)


def test_at_a_rung_a_value_that_is_not_finite_waits_and_is_the_last(tmp_path):
    lab = Lab(tmp_path, prune="halving")
    bad = []

    def loss(x, step):
        if not bad:
            bad.append(x)
        return math.nan if x == bad[0] else Lab.loss(x, step)

    lab.loss = loss
    trained = lab.run()
    assert trained[f"lr={bad[0]}"] == 3 and sorted(trained.values()) == [3] * 6 + [9] * 2 + [STEPS]


def test_two_commands_do_not_go_on_with_one_search_at_once(tmp_path):
    one, other = (space([f"lr=interval(0.0,{end})"], no_group) for end in (1.0, 2.0))
    refused = pytest.raises(UserError, match=r"search\.jsonl: another command goes on with this search")
    with (
        alone(tmp_path, one, False),
        alone(tmp_path, other, False),
        alone(tmp_path, one, True),
        refused,
        alone(tmp_path, one, False),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_the_runs_that_a_search_learns_from_are_stale_where_their_code_has_changed(tmp_path):
    found = []
    for name, torch in (("a", torch_version()), ("b", "1.0"), ("c", "1.0")):
        run = Run(tmp_path / name)
        run.create(name, "lab", {}, [])
        run.write_manifest({"sources": {"rnnlab": rnnlab_sources(), "torch": torch}})
        found.append((run, dict))
    assert stale_lines(found[:1]) == []
    (line,) = stale_lines(found)
    assert (
        line
        == f"2 finished runs that the search learns from are stale (torch was 1.0, is {torch_version()}); "
        "another name= begins afresh"
    )


def test_a_search_says_that_it_compares_losses_of_several_units(tmp_path):
    def said(line, **more):
        lab = Lab(tmp_path, lines=(line, "lr=interval(0.0,1.0)"))
        lab.search.config = lab.search.config | more
        return [line for line in describe(lab.search, 0.1) if "unit" in line]

    assert said("model.cell=gru,lstm") == [] == said("model.loss=mse,huber", monitor="metric/mse")
    (line,) = said("model.loss=mse,huber")
    assert line.startswith(
        "trials are compared by loss/val, whose unit depends on model.loss; monitor=metric/NAME"
    )


def test_a_full_disk_at_the_end_of_a_search_costs_a_line(tmp_path, capsys, monkeypatch):
    lab = Lab(tmp_path)
    lab.run()
    lab.search.study.config = lab.search.study.config | {"name": "lab"}
    (lab.folder / "study.log.lock").symlink_to("gone")  # of a search that was killed while it wrote
    lab.search.study.close()
    whole = (lab.folder / "study.log").read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(optuna.storages.journal.JournalFileBackend, "append_logs", full)
    lab.search.study.close()
    assert (
        capsys.readouterr().err == f"{lab.folder / 'study.log'}: cannot be written: No space left on device\n"
    )
    assert (lab.folder / "study.log").read_bytes() == whole


def test_verdicts_that_depend_on_speed_are_refused_in_deterministic_order(tmp_path):
    with pytest.raises(UserError, match=r"sweep\.prune=asha: what it stops depends on which run is faster"):
        Lab(tmp_path, prune="asha", search_order="deterministic")


def test_a_line_after_one_that_was_cut_off_is_read(tmp_path):
    journal, asked = tmp_path / "search.jsonl", {"space": "s", "at": 1.0, "params": {}, "runs": []}
    for number in range(3):
        append(journal, asked | {"trial": number})
        if number == 1:
            os.truncate(journal, journal.stat().st_size - 5)
    assert [trial["number"] for trial in read_journal(journal).trials] == [0, 2]


def test_a_damaged_journal_costs_its_damaged_lines(tmp_path):
    lab = Lab(tmp_path)
    lab.run()
    path = lab.folder / "search.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0][:20], "[1]", '{"space": 3}', "\x00", *lines[1:]]))
    assert [one["number"] for one in read_journal(path).trials] == list(range(1, 9))
    assert read_journal(tmp_path / "none").trials == []


# ---------------------------------------------------------------------- with trainings

LINE = ["experiment=sine", "trainer.max_steps=60", "trainer.val_check_interval=5", "data.n_points=300",
        "model.hidden_size=4,8", "optimizer.lr=tag(log,interval(1e-3,1e-1))", "seed=0"]  # fmt: skip


def test_a_search_prunes_and_a_pruned_run_goes_on_to_the_bits_of_an_unbroken_one(tmp_path, capsys):
    how = ["sweep.search=tpe", "sweep.trials=8", "sweep.prune=asha", "sweep.workers=2"]
    asked = ["train", "-m", *LINE, f"paths.outputs={tmp_path}", *how]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "search by tpe, pruned by asha: 8 trials" in out and " pruned" in out
    found = runs(tmp_path / "sine")
    pruned = [run for run in found if run.status == "pruned"]
    assert pruned and len(found) == 8 and {run.status for run in found} == {"pruned", "finished"}
    assert all(run.results["steps"] < 60 and "pruned (asha) at step" in run.record["why"] for run in pruned)
    dashboards = optuna.storages.journal.JournalFileBackend(str(tmp_path / "sine" / "study.log"))
    assert f"trained to the end, {len(pruned)} pruned, in " in out
    study = optuna.load_study(study_name="sine", storage=optuna.storages.JournalStorage(dashboards))
    assert study.best_value == min(run.objective for run in found if run.status == "finished")
    assert len(study.trials) == 8
    page = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "sine"), "--html", str(page)]) == 0
    assert f"pruned   {len(pruned)} runs of a search" in capsys.readouterr().out
    assert "8 trials" in page.read_text()
    shown = set(re.findall(r"<title>trial (\d+), ", page.read_text()))  # numbered as in Optuna's study
    assert shown == {str(trial.number) for trial in study.trials}
    assert main(asked) == 0
    assert "0 runs trained" in capsys.readouterr().out
    alone = ["train", *pruned[0].overrides]
    assert main([*alone]) == 0  # the line of the run itself, without the search
    assert Run(pruned[0].folder).status == "finished" and Run(pruned[0].folder).results["steps"] == 60
    assert main([*alone, f"paths.outputs={tmp_path / 'unbroken'}"]) == 0
    (unbroken,) = runs(tmp_path / "unbroken" / "sine")
    assert unbroken.metrics_file.read_bytes() == pruned[0].metrics_file.read_bytes()


def test_from_python_a_search_is_a_search(tmp_path):
    few = (*LINE, "trainer.max_steps=10", "sweep.workers=1", f"paths.outputs={tmp_path}")
    found = rnnlab.sweep(*few, "sweep.search=random", "sweep.trials=3", quiet=True)
    assert len(found) == 3 and len({run.config["optimizer"]["lr"] for run in found}) == 3
    assert len(read_journal(tmp_path / "sine" / "search.jsonl").trials) == 3
    with pytest.raises(UserError, match=r"sweep\.objectives=\[parameters\]: a grid trains all"):
        rnnlab.sweep(*few, "sweep.objectives=[parameters]", quiet=True)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["sweep.search=tpee"], "tpe"),
        (
            ["sweep.search=tpe", "trainer.limit_val_batches=0"],
            "sweep.search=tpe sweep.prune=none: chooses by the runs' scores, and these runs have none",
        ),
        (
            ["sweep.search=random", "sweep.prune=asha", "data.fractions=[0.8,0,0.2]"],
            "sweep.search=random sweep.prune=asha: chooses by the runs' scores, and these runs have none",
        ),
        (["sweep.search=tpe", "optimizer.lr=interval(-1.0,1.0)"], "points are invalid"),
        (["sweep.search=tpe", "sweep.zip=[[seed,optimizer.lr]]"], "sweep.zip"),
        (["sweep.search=tpe", "model.loss=mse,mae"], "model.loss: decides the unit of loss/val"),
        (["sweep.search=tpe", "hydra/launcher=basic"], "leave out hydra/launcher"),
        (
            ["sweep.search=tpe", "sweep.objectives=[paramters]"],
            "runs have no paramters. Did you mean parameters?",
        ),
        (["sweep.search=tpe", "sweep.objectives=[mae]"], "runs have no mae. Did you mean metric/mae?"),
        (["sweep.search=tpe", "sweep.objectives=[steps,steps]"], "[steps,steps]: names steps twice"),
        (["sweep.search=tpe", "sweep.objectives=[loss/val]"], "loss/val is the monitored metric"),
        (
            ["model.hidden_size=4,8", "optimizer.lr=1e-3", "sweep.objectives=[parameters]"],
            "a grid trains all",
        ),
        (["sweep.prune=asha"], "sweep.prune=asha: is for a search, and a grid trains all of its points"),
        (["sweep.trials=5"], "sweep.trials=5: is for a search"),
        (["sweep.minutes=5", "hydra/launcher=basic"], "sweep.minutes=5: is for a search"),
        (["sweep.workers=2", "hydra/launcher=basic"], "workers=2: is for rnnlab's own workers"),
        (["sweep=slurm", "hydra/launcher=basic"], "sweep=slurm: is for rnnlab's own workers"),
        (["--detach"], "sweep.slurm.detach=true (--detach): only jobs of Slurm go on without the command"),
        (["--detach", "sweep=slurm", "sweep.search=random"], "the command chooses a search's trials"),
        (["sweep.search=random", "model.hidden_size=interval(2,6)"], "must be a whole number"),
        (["sweep.search=random", "rerun=true"], "rerun=true: a search trains no finished run again"),
        (["sweep.search=random", "sweep.stale=rerun"], "sweep.stale=rerun: a search trains no finished run"),
    ],
)
def test_a_wrong_search_is_refused_and_leaves_nothing(tmp_path, capsys, asked, why):
    line = ["train", "-m", *LINE, f"paths.outputs={tmp_path / 'outputs'}", *asked]
    assert main(line) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("how", [["sweep.search=tpe", "monitor=metric/mse"], ["sweep.search=random"]])
def test_losses_of_several_units_can_be_searched_where_none_is_compared(tmp_path, capsys, how):
    line = ["train", "-m", *LINE, f"paths.outputs={tmp_path}", "model.loss=mse,mae", *how, "--dry-run"]
    assert main(line) == 0, capsys.readouterr().err


def test_a_trial_that_a_run_alone_would_refuse_is_none(tmp_path, capsys):
    """Each value passes by itself: an epoch has two batches only where the larger batch meets the interval."""
    asked = ["train", "-m", "data=sine", "data.n_points=200", "model.hidden_size=4", "trainer.accelerator=cpu",
             "trainer.max_epochs=1", "logger=none", "callbacks=none", "sweep.workers=1", "sweep.search=random",
             "sweep.trials=12", "sweep.search_order=deterministic", "optimizer.lr=interval(0.001,0.01)",
             "data.batch_size=choice(32,64)", "trainer.val_check_interval=choice(1,3)",
             "data.amplitudes=choice([1.0],[2.0])",
             f"paths.outputs={tmp_path / 'out'}"]  # fmt: skip
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert (
        "could not be run: trainer.val_check_interval=3: an epoch has 2 batches" in said
        and "failed" not in said
    )
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("run.json")]
    assert records and {record["status"] for record in records} == {"finished"}
    assert not list((tmp_path / "out").rglob("traceback.txt"))


def test_a_search_that_is_stopped_says_how_many_trials_are_left(tmp_path, capsys, monkeypatch):
    """A run of a halving ends several times: at each rung."""
    ended, original = [], LiveView.ended

    def stopping(self, planned, outcome):
        original(self, planned, outcome)
        ended.append(outcome.status)
        if outcome.status == "finished":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(LiveView, "ended", stopping)
    line = ["train", "-m", *LINE, f"paths.outputs={tmp_path}", "sweep.search=random", "sweep.trials=6",
            "sweep.prune=halving", "sweep.search_batch=4", "sweep.workers=1"]  # fmt: skip
    assert main(line) == 130
    assert len(ended) > 6
    told = [one for one in read_journal(tmp_path / "sine" / "search.jsonl").trials if "state" in one]
    assert len(told) == 4
    assert "Stopped (SIGINT) with 2 trials left; the same command resumes them." in capsys.readouterr().out


def test_a_search_that_is_killed_goes_on(tmp_path):
    how = ["sweep.search=tpe", "sweep.trials=12", "sweep.search_batch=4", "sweep.prune=halving"]
    line = [
        "train",
        "-m",
        *LINE,
        f"paths.outputs={tmp_path / 'killed'}",
        *how,
        "sweep.search_order=deterministic",
    ]
    process = warm.Popen(
        [sys.executable, "-m", "rnnlab", *line], stdout=subprocess.DEVNULL, start_new_session=True
    )
    until(lambda: len(list((tmp_path / "killed").glob("sine/*/run.json"))) >= 3, pause=0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert main(line) == 0
    assert main([*line, f"paths.outputs={tmp_path / 'whole'}", "sweep.workers=1"]) == 0
    journals = [
        read_journal(tmp_path / name / "sine" / "search.jsonl").trials for name in ("killed", "whole")
    ]
    plain = [[{k: v for k, v in one.items() if k not in ("asked", "told")} for one in j] for j in journals]
    assert plain[0] == plain[1] and len(plain[0]) == 12
    for run in runs(tmp_path / "whole" / "sine"):
        twin = tmp_path / "killed" / "sine" / run.folder.name
        assert (twin / "metrics.csv").read_bytes() == run.metrics_file.read_bytes()


# ---------------------------------------------------------------------- several objectives


def test_the_front_is_what_no_other_trial_beats():
    def trial(number, loss, size):
        return {"number": number, "values": {"loss/val": loss, "parameters": size}}

    def beats(a, b):
        return all(a[k] <= b[k] for k in b) and a != b

    points = [(1.0, 9), (2.0, 3), (2.0, 4), (0.5, 20), (3.0, 3), (1.0, 9)]
    trials = [trial(number, *point) for number, point in enumerate(points)] + [{"number": 6, "value": 0.1}]
    brute = [t for t in trials[:6] if not any(beats(o["values"], t["values"]) for o in trials[:6])]
    found = pareto_front(trials, "min")
    assert [t["number"] for t in found] == [3, 0, 1]
    assert {t["number"] for t in brute} == {3, 0, 1, 5}  # 5 is 0 again
    assert [t["number"] for t in pareto_front(trials, "max")] == [4]  # a greater loss, and few parameters
    assert pareto_front(trials[6:], "min") == []


@pytest.mark.parametrize("names", [("loss/val", "parameters"), ("loss/val", "parameters", "seconds")])
def test_the_front_of_thousands_is_the_one_that_comparing_all_gives(names):
    rng = random.Random(0)
    points = [tuple(rng.randint(0, 40) for _ in names) for _ in range(400)]
    trials = [{"number": i, "values": dict(zip(names, point, strict=True))} for i, point in enumerate(points)]
    for mode in ("min", "max"):
        sign = -1 if mode == "max" else 1
        signed = {(sign * first, *rest) for first, *rest in points}
        brute = {a for a in signed if not any(b != a and all(map(operator.le, b, a)) for b in signed)}
        found = [tuple(trial["values"].values()) for trial in pareto_front(trials, mode)]
        assert [(sign * first, *rest) for first, *rest in found] == sorted(brute)


@pytest.mark.parametrize("objectives", [[], ["parameters"]])
def test_how_much_a_key_mattered_is_noted_without_a_warning(tmp_path, objectives):
    lab = Lab(tmp_path, lines=("lr=interval(0.0,1.0)", "x=interval(0.0,1.0)"), trials=15)
    study = lab.search.study
    study.config = study.config | {"name": "lab"}
    study.objectives = ["loss/val", *objectives]
    study.optuna = optuna.create_study(directions=["minimize"] * len(study.objectives))
    for i in range(15):
        ask = study.optuna.ask(study.distributions)
        study.optuna.tell(ask, [i / 15 + j for j in range(len(study.objectives))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study.close()
    assert set(read_journal(study.journal, study.id).importance) == {"lr", "x"}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"search": "cmaes"}, "takes one objective"),
        ({"search": "nsga2", "prune": "asha"}, "leave out sweep.prune"),
    ],
)
def test_what_takes_no_second_objective_is_refused(tmp_path, asked, why):
    with pytest.raises(UserError, match=f"sweep.objectives=.*{why}"):
        Lab(tmp_path, objectives=["parameters"], **asked)


def test_a_gaussian_process_takes_several_objectives_where_optuna_has_it(tmp_path, monkeypatch):
    assert Lab(tmp_path, objectives=["parameters"], search="gp").search.study.optuna.directions
    monkeypatch.setattr(optuna, "__version__", "4.3.0")
    with pytest.raises(UserError, match=r"sweep\.search=gp takes several objectives from Optuna 4\.4 on"):
        Lab(tmp_path, objectives=["parameters"], search="gp")


def test_a_search_for_two_objectives_goes_on_and_shows_its_front(tmp_path, capsys):
    line = ["train", "-m", *LINE, "model.hidden_size=2,4,8,16", "sweep.search=nsga2",
            "sweep.objectives=[parameters]", f"paths.outputs={tmp_path}"]  # fmt: skip
    assert main([*line, "sweep.trials=3"]) == 0
    assert "3 complete" in capsys.readouterr().out
    assert main([*line, "sweep.trials=5"]) == 0
    out = capsys.readouterr().out
    assert "3 from an earlier command" in out and "Pareto front" in out
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "sine"), "--html", str(page)]) == 0
    said = capsys.readouterr().out
    assert "Pareto front" in said and "Pareto front" in page.read_text()
    trials = [t for t in read_journal(tmp_path / "sine" / "search.jsonl").trials if "values" in t]
    for trial in trials:
        (run,) = [r for r in runs(tmp_path / "sine") if r.folder.name in trial["runs"]]
        assert trial["values"] == {"loss/val": run.objective, "parameters": run.results["parameters"]}
