"""Hydra's own launchers and sweepers on the same command: one run a job, the same folders."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper

import rnnlab
import warm
from rnnlab import display
from rnnlab.sweeps import hydra_bridge

POINTS = ("experiment=sine", "data.n_points=200", "trainer.accelerator=cpu", "trainer.max_epochs=2", "callbacks=none",
          "trainer.threads=1", "model.hidden_size=4", "seed=0,1")  # fmt: skip


HYDRAS = {"multirun.yaml"}  # its basic sweeper's own


def launched(folder, *overrides, script=False):
    words = ["train", "-m", *POINTS, *overrides, f"paths.outputs={folder}"]
    if not script:
        return warm.rnnlab(*words, cwd=folder)
    entry = str(Path(__file__).parents[2] / "scripts" / "run.py")
    return subprocess.run([sys.executable, entry, *words], capture_output=True, text=True, cwd=folder)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    for seed in (0, 1):
        rnnlab.train(*POINTS[:-1], f"seed={seed}", f"paths.outputs={folder}")
    return contents(folder)


def contents(folder):
    """Every file of every run, and what was measured; nothing else may be there but what begins with a dot."""
    runs = {r.folder.name: r for r in rnnlab.runs(folder / "sine")}
    assert {p.name for p in folder.iterdir()} == {"sine"}
    assert {p.name for p in (folder / "sine").iterdir() if p.name[0] != "."} - HYDRAS == set(runs)
    files = {
        name: {p.relative_to(r.folder).as_posix() for p in r.folder.rglob("*")} for name, r in runs.items()
    }
    return {name: (files[name], r.metrics_file.read_bytes()) for name, r in runs.items()}


def test_basic(alone, tmp_path, multirun):
    done = multirun(*POINTS, "hydra/launcher=basic", "hydra/sweeper=basic", f"paths.outputs={tmp_path}")
    assert done.code == 0, done.err
    assert contents(tmp_path) == alone


@pytest.mark.parametrize("sweeper", ["rnnlab", "basic"])
def test_what_is_finished_is_no_job_and_the_leaderboard_comes_once(
    alone, tmp_path, multirun, sweeper, monkeypatch
):
    jobs, train = [], display.train
    monkeypatch.setattr(
        display, "train", lambda cfg, *args, **more: jobs.append(cfg.seed) or train(cfg, *args, **more)
    )
    words = ("hydra/launcher=basic", f"hydra/sweeper={sweeper}", f"paths.outputs={tmp_path}")
    done = multirun(*POINTS, *words)
    assert done.code == 0, done.err
    assert contents(tmp_path) == alone
    assert done.out.count("best loss/val") == 1 and done.out.count("rnnlab report") == 1
    assert done.out.count("finished  hidden_size-4") == 2 and "optimizer" not in done.out  # no config
    assert "2 runs trained" in done.out and jobs == [0, 1]
    more = multirun(*POINTS[:-1], "seed=0,1,2", *words)
    assert more.code == 0 and "1 run trained" in more.out and more.out.count("best loss/val") == 1
    assert jobs == [0, 1, 2]
    same = multirun(*POINTS[:-1], "seed=0,1,2", *words)
    assert same.code == 0 and "0 runs trained" in same.out and same.out.count("best loss/val") == 1
    assert jobs == [0, 1, 2]  # nothing was launched


@pytest.mark.parametrize("sweeper", ["rnnlab", "basic"])
def test_a_failed_run_costs_no_other_and_the_leaderboard_still_comes(tmp_path, multirun, sweeper):
    words = ("hydra/launcher=basic", f"hydra/sweeper={sweeper}", f"paths.outputs={tmp_path}", "optimizer=sgd",
             "trainer.divergence_factor=2", "optimizer.lr=1e30,1e-3")  # fmt: skip
    done = multirun(*POINTS[:-1], "seed=0", *words)
    assert done.code == 1 and done.out.count("best loss/val") == 1, done.err
    assert sorted(r.status for r in rnnlab.runs(tmp_path / "sine")) == ["failed", "finished"]


def test_a_dry_run_trains_nothing_whoever_would(tmp_path, multirun):
    dry = multirun(*POINTS, "hydra/launcher=basic", "--dry-run", f"paths.outputs={tmp_path}")
    assert dry.code == 0 and dry.out.startswith("2 runs;") and "Nothing was started" in dry.out
    refused = multirun(
        *POINTS, "hydra/sweeper=basic", "hydra/launcher=basic", "--dry-run", f"paths.outputs={tmp_path}"
    )
    assert refused.code == 2 and "rnnlab's own sweeper" in refused.err
    assert not list((tmp_path / "sine").glob("*/run.json"))


def test_our_launcher_under_another_sweeper(alone, tmp_path):
    assert launched(tmp_path, "hydra/sweeper=basic", script=True).returncode == 0
    assert contents(tmp_path) == alone


def test_an_experiment_may_hold_the_sweep(alone, tmp_path, multirun):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "held.yaml").write_text(
        "# @package _global_\ndefaults: [sine]\n"
        "hydra: {sweeper: {params: {seed: 'range(0,3)', model.num_layers: '1,2'}}}\n"
        "sweep: {exclude: [{seed: [1, 2], model.num_layers: 2}, seed=2]}\n"
    )
    asked = [*POINTS[1:-1], f"paths.outputs={tmp_path / 'runs'}"]
    done = multirun("experiment=held", *asked, "--config-dir", str(tmp_path / "conf"))
    assert done.code == 0, done.err
    found = contents(tmp_path / "runs")
    assert len(found) == 3 and {name: found[name] for name in alone} == alone
    # what the command line says of a key takes the place of what the file says
    fewer = multirun("experiment=held", "seed=1", *asked, "--config-dir", str(tmp_path / "conf"))
    assert "1 run, 1 finished already, 1 excluded" in fewer.out


class Greedy(Sweeper):
    """An optimizer's way with a launcher: batches of points, each chosen by the best of what came before."""

    def __init__(self, direction="minimize"):
        self.direction = direction

    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        fixed = [a for a in arguments if "range" not in a]
        TOLD.clear()
        for scale in (1.0, 0.1):
            best = min(TOLD, key=TOLD.get, default=0.03)
            batch = [[*fixed, f"optimizer.lr={best * factor * scale:g}"] for factor in (1, 3)]
            for words, job in zip(batch, self.launcher.launch(batch, len(TOLD)), strict=True):
                TOLD[float(words[-1].partition("=")[2])] = job.return_value
        return None


TOLD: dict[float, float] = {}


@pytest.fixture
def greedy(monkeypatch):
    monkeypatch.setattr(Greedy, "__module__", "hydra_plugins.greedy")
    monkeypatch.setitem(sys.modules, "hydra_plugins.greedy", sys.modules[__name__])
    Plugins.instance().register(Greedy)
    node = {"_target_": "hydra_plugins.greedy.Greedy", "direction": "minimize"}
    ConfigStore.instance().store(group="hydra/sweeper", name="greedy", node=node)


@pytest.mark.usefixtures("greedy")
@pytest.mark.parametrize("launcher", ["rnnlab", "basic"])
@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (("data=tokens", "data.n_sequences=100", "model=classifier", "mode=max", "monitor=metric/accuracy"),
         "hydra.sweeper.direction=minimize: mode=max says which metric/accuracy is better; "
         "use hydra.sweeper.direction=maximize"),
        (("data.fractions=[0.8,0,0.2]",), "hydra/sweeper=greedy: chooses by the runs' scores, and these"),
    ],
)  # fmt: skip
def test_a_score_that_is_none_or_the_worst_is_refused(launcher, asked, line, tmp_path, multirun):
    small = ("trainer.accelerator=cpu", "trainer.max_epochs=1", "callbacks=none", "model.hidden_size=4")
    done = multirun(*small, *asked, "seed=0", "hydra/sweeper=greedy", f"hydra/launcher={launcher}",
                    f"paths.outputs={tmp_path / 'out'}")  # fmt: skip
    assert done.code == 2 and line in done.err and "Traceback" not in done.err
    assert not list((tmp_path / "out").rglob("run.json")) or (launcher == "basic" and "score" in line)


@pytest.mark.usefixtures("greedy")
def test_a_typo_beside_an_interval_is_its_own_line(tmp_path, multirun):
    done = multirun("optimizer.lr=interval(0.001,0.1)", "model.hiden_size=3", "hydra/sweeper=rnnlab",
                    f"paths.outputs={tmp_path / 'out'}")  # fmt: skip
    assert done.code == 2 and "model.hiden_size: no such key. Did you mean model.hidden_size?" in done.err


@pytest.mark.usefixtures("greedy")
def test_another_sweeper_is_told_the_best_value_of_the_monitored_metric_not_the_last(tmp_path, multirun):
    asked = (
        *POINTS[:3],
        "trainer.max_epochs=12",
        "model.cell=elman",
        "model.hidden_size=8",
        "monitor=metric/mae",
    )
    done = multirun(*asked, "seed=0", "hydra/sweeper=greedy", f"paths.outputs={tmp_path}")
    assert done.code == 0, done.err
    runs = {r.config["optimizer"]["lr"]: r for r in rnnlab.runs(tmp_path / "sine")}
    assert len(TOLD) == 4 and runs.keys() == TOLD.keys()
    curves = {lr: run.metrics["metric/mae"][1] for lr, run in runs.items()}
    assert {lr: curve.min() for lr, curve in curves.items()} == TOLD
    assert any(curve[-1] > curve.min() for curve in curves.values())  # else the last would do


OTHERS = {
    "joblib": ("hydra_joblib_launcher", ("hydra.launcher.n_jobs=2",)),
    "submitit_local": ("hydra_submitit_launcher", ("hydra.launcher.timeout_min=9",)),
    "ray": ("hydra_ray_launcher", ()),  # submitit on Slurm: test_slurm.py
}


@pytest.mark.parametrize("launcher", OTHERS)
def test_other_launchers(launcher, alone, tmp_path):
    package, words = OTHERS[launcher]
    if not importlib.util.find_spec(f"hydra_plugins.{package}"):
        pytest.skip(f"{package} is not installed: hydra/launcher={launcher} is not tried")
    done = launched(tmp_path, f"hydra/launcher={launcher}", *words)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == alone
    assert done.stdout.count("best loss/val") == 1 and "2 runs trained" in done.stdout


class Elsewhere(BasicLauncher):
    """A launcher whose jobs find a GPU that this machine has not: a run's folder is that of `gpu`."""

    def launch(self, job_overrides, initial_job_idx):
        SENT.append(job_overrides)
        found = []
        for job in job_overrides:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(job))
            (planned,) = hydra_bridge.over_already(self.config, self.hydra_context, [job])[0][:1]
            run = planned[0].run
            assert [one.accelerator for one in planned] == ["gpu", "mps"] and config.seed in (0, 1)
            run.create(planned[0].place.id, "sine", planned[0].config, planned[0].overrides)
            best = {"value": 0.5, "monitor": "loss/val", "step": 1, "metrics": {"loss/val": 0.5}}
            run.update(status="finished", ended="2026-01-01", seconds=1.0, results={"best": best, "steps": 1})
            found.append(JobReturn(overrides=job, status=JobStatus.COMPLETED, _return_value=0.5))
        return found


SENT = []


def test_runs_that_a_gpu_elsewhere_has_finished_are_not_sent_again(tmp_path, multirun, monkeypatch):
    monkeypatch.setattr(Elsewhere, "__module__", "hydra_plugins.elsewhere")
    monkeypatch.setitem(sys.modules, "hydra_plugins.elsewhere", sys.modules[__name__])
    Plugins.instance().register(Elsewhere)
    node = {"_target_": "hydra_plugins.elsewhere.Elsewhere"}
    ConfigStore.instance().store(group="hydra/launcher", name="elsewhere", node=node)
    SENT.clear()
    words = [word for word in POINTS if "accelerator" not in word]
    words += ["trainer.precision=16-mixed", "hydra/launcher=elsewhere", f"paths.outputs={tmp_path}"]
    first = multirun(*words)  # which this machine's CPU could not train
    assert first.code == 0, first.err
    assert len(SENT[0]) == 2 and "2 runs trained" in first.out and first.out.count("best loss/val") == 1
    assert multirun(*words).code == 0 and len(SENT) == 1
    refused = multirun(*words, "trainer.accelerator=cpu")
    assert refused.code == 2 and "a CPU has no 16-mixed" in refused.err


def test_a_point_that_is_left_out_is_said_to_another_sweeper(tmp_path, multirun):
    asked = ("experiment=sine", "data.n_points=200", "trainer.accelerator=cpu", "trainer.max_epochs=1",
             "callbacks=none", "hydra/sweeper=basic", f"paths.outputs={tmp_path}")  # fmt: skip
    excluded, invalid = (
        ("sweep.exclude=['seed=1']", "seed=0,1"),
        ("sweep.on_invalid=skip", "model.hidden_size=4,-4"),
    )
    for left_out, why in ((excluded, "seed=1: sweep.exclude leaves it out"), (invalid, "hidden_size=-4")):
        done = multirun(*asked, *left_out)
        assert done.code == 1 and why in done.err and "Traceback" not in done.err
