"""Every logger of conf/logger, alone and beside the others, holds all rows once after a run was stopped or killed."""

import csv
import importlib.util
import json
import os
import re
import struct
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rnnlab
import warm
from rnnlab.training.stock_loggers import GIVEN, continuing

PACKAGES = {"mlflow": "mlflow", "wandb": "wandb", "comet": "comet_ml", "trackio": "trackio", "aim": "aim"}
INSTALLED = [name for name, package in PACKAGES.items()
             if (spec := importlib.util.find_spec(package)) is not None and spec.origin is not None]  # fmt: skip
OFFLINE = {"comet": ["logger.comet.online=false"]}
os.environ.setdefault("TRACKIO_DIR", tempfile.mkdtemp())  # read when trackio is imported
# without their extras those of trackers are not tried
LOGGERS = ["tensorboard", "csv", *INSTALLED]
SMALL = ("experiment=sine", "data.n_points=200", "trainer.accelerator=cpu", "model.hidden_size=4",
         "trainer.max_epochs=4", "model.engine=torch", "trainer.threads=1", "~callbacks.progress",
         "~callbacks.pictures", "checkpoint.every_n_steps=5")  # fmt: skip
STOP = "+callbacks.stop={_target_: stopping.StopAtBatch, batches: 7}"
KILL = "+callbacks.stop={_target_: stopping.KillAtBatch, batches: 7, marker: '%s'}"


def rows_of_csv(run):
    with (run.folder / "csv" / "metrics.csv").open() as f:
        return Counter((int(row["step"]), name, float(value)) for row in csv.DictReader(f)
                       for name, value in row.items() if value and name != "step")  # fmt: skip


def rows_of_tensorboard(run):
    events = EventAccumulator(str(run.folder), size_guidance={"scalars": 0})
    events.Reload()
    return Counter((e.step, name, e.value) for name in events.Tags()["scalars"] for e in events.Scalars(name))


def rows_of_mlflow(run):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(run.config["logger"]["mlflow"]["tracking_uri"])
    (experiment,) = [e for e in client.search_experiments() if e.name == run.config["name"]]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    return Counter((m.step, name, m.value) for name in found.data.metrics
                   for m in client.get_metric_history(found.info.run_id, name))  # fmt: skip


def rows_of_wandb(run):
    from wandb.proto import wandb_internal_pb2

    (file,) = run.folder.glob("wandb/offline-run-*/*.wandb")
    found = Counter()
    for record in leveldb(file.read_bytes()):
        read = wandb_internal_pb2.Record.FromString(record)
        if read.WhichOneof("record_type") == "history":
            row = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in read.history.item}
            step = row.pop("trainer/global_step")
            found.update(
                (step, name, value) for name, value in row.items() if name[0] != "_" and name != "epoch"
            )
    return found


def rows_of_comet(run):
    (archive,) = (run.folder / "comet").glob("*.zip")
    with zipfile.ZipFile(archive) as content:
        found = [json.loads(line) for line in content.read("messages.json").splitlines()]
    metrics = [line["payload"]["metric"] for line in found if line["type"] == "metric_msg"]
    return Counter((m["step"], m["metricName"], m["metricValue"]) for m in metrics)


def rows_of_trackio(run):
    from trackio.sqlite_storage import SQLiteStorage

    rows = SQLiteStorage.get_logs(run.config["logger"]["trackio"]["project"], run.folder.name)
    return Counter(
        (row["step"], name, row[name])
        for row in rows
        for name in row.keys() - {"step", "timestamp", "status"}
    )


def rows_of_aim(run):
    import aim

    found = aim.Run(
        run.record["loggers"]["aim"], repo=run.config["logger"]["aim"]["repo"], system_tracking_interval=None
    )
    frames = {metric.name: metric.dataframe() for metric in found.metrics()}
    return Counter((int(step), name, value) for name, frame in frames.items()
                   for step, value in zip(frame["step"], frame["value"], strict=True))  # fmt: skip


def leveldb(content):
    """The records of a log in LevelDB's format, which begins with seven bytes of wandb's own."""
    at, record = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        _, n, kind = struct.unpack("<IHB", content[at : at + 7]) if left >= 7 else (0, 0, 0)
        if not kind:
            at += left
            continue
        record += content[at + 7 : at + 7 + n]
        at += 7 + n
        if kind in (1, 4):
            yield record
            record = b""


ROWS = {
    "csv": rows_of_csv,
    "tensorboard": rows_of_tensorboard,
    "mlflow": rows_of_mlflow,
    "wandb": rows_of_wandb,
    "comet": rows_of_comet,
    "trackio": rows_of_trackio,
    "aim": rows_of_aim,
}


@pytest.mark.parametrize("names", [[name] for name in LOGGERS] + [LOGGERS], ids="+".join)
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_all_rows_once(names, how, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    stop = STOP if how == "stopped" else KILL % (tmp_path / "marker")
    asked = [*SMALL, f"logger=[{','.join(names)}]", stop, f"paths.outputs={tmp_path}"]
    asked += [word for name in names for word in OFFLINE.get(name, ())]
    asked += ["logger.trackio.project=" + re.sub(r"\W", "_", tmp_path.name)] if "trackio" in names else []
    runs = []
    if how == "killed":
        paths = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import rnnlab; "
        command = [sys.executable, "-c", f"{paths}rnnlab.train(*{asked!r}, quiet=True)"]
        # a service of wandb's that this process has started would keep the killed run's id
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        done = warm.run(command, cwd=tmp_path, env=environment)
        assert done.returncode == -9
    while not runs or runs[-1].status == "stopped":
        runs.append(rnnlab.train(*asked, quiet=True))
    assert len(runs) > (how == "stopped")
    expected = Counter((int(step), name) for name, (steps, _) in runs[-1].metrics.items() for step in steps)
    places = []
    for name in names:
        rows = ROWS[name](runs[-1]).elements()
        rows = list(rows)
        # speeds and results are beside them
        found = Counter(row for row in rows if row[1] in runs[-1].metrics)
        speeds = [step for step, metric, _ in rows if metric == "speed/steps_per_s"]
        assert len(speeds) == len(set(speeds)), name
        places.append(sorted(speeds))
        assert set(found.values()) == {1}, name
        assert Counter((step, metric) for step, metric, _ in found) == expected, name
        for step, metric, value in found:
            steps, values = runs[-1].metrics[metric]
            assert value == pytest.approx(values[list(steps).index(step)], rel=1e-6)
    assert all(len(steps) > 1 and steps == places[0] for steps in places)  # of each start one at least


def test_what_loggers_leave_in_the_process_is_of_one_run():
    from rnnlab.training import stock_loggers

    class Wandb:
        run, finished = object(), 0

        def finish(self):
            self.finished += 1

    class Trackio:
        open = True

        def finish(self):
            if not self.open:
                raise RuntimeError("Call trackio.init() before trackio.finish().")
            self.open = False

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "wandb", Wandb())
        patched.setitem(sys.modules, "trackio", trackio := Trackio())
        patched.delenv(stock_loggers.ADDRESS, raising=False)
        patched.delenv(stock_loggers.COMETS, raising=False)
        with stock_loggers.apart():
            patched.setenv(stock_loggers.ADDRESS, "sqlite:///one.db")
            os.environ[stock_loggers.COMETS] = "1"
        assert not {stock_loggers.ADDRESS, stock_loggers.COMETS} & os.environ.keys()
        assert sys.modules["wandb"].finished == 1 and not trackio.open
        with stock_loggers.apart():  # one that has no run open says so
            pass


@pytest.mark.parametrize("online", [True, False])
def test_comets_server_is_given_nothing_again_and_all_that_comes_after(online, tmp_path):
    from rnnlab.runs.metrics import Scalars
    from rnnlab.training import loggers, stock_loggers
    from rnnlab.training.tracking import Comet

    class Given(Comet):
        def log(self, metrics, step):
            self.rows = [*getattr(self, "rows", []), (step, dict(metrics))]

    Given.__name__ = "Comet"
    (tmp_path / "metrics.csv").write_text("step,metric,value\n1,loss/val,0.5\n2,loss/val,0.4\n")
    logger = Given("project", "run", online=online, experiment_key="key")
    stock_loggers.give_again([logger], tmp_path / "metrics.csv", {})
    assert getattr(logger, "rows", []) == ([] if online else [(1, {"loss/val": 0.5}), (2, {"loss/val": 0.4})])
    loggers.log(logger, Scalars.of(3, {"loss/val": 0.3}))
    assert logger.rows[-1] == (3, {"loss/val": 0.3})


def test_wandbs_server_is_given_the_validation_of_a_step_that_it_has(tmp_path):
    from rnnlab.training import stock_loggers

    class WandbLogger:
        def __init__(self, **summary):
            self.experiment, self.rows = SimpleNamespace(summary=summary), []

        def log_metrics(self, metrics, step):
            self.rows.append((step, dict(metrics)))

    (tmp_path / "metrics.csv").write_text(
        "step,metric,value\n1,loss/train,0.9\n1,loss/val,0.5\n2,loss/train,0.8\n2,loss/val,0.4\n3,loss/train,0.7\n"
    )
    killed = WandbLogger(**{"trainer/global_step": 2, "loss/train": 0.8, "loss/val": 0.5})
    stock_loggers.give_again([killed], tmp_path / "metrics.csv", {})
    assert killed.rows == [(2, {"loss/val": 0.4}), (3, {"loss/train": 0.7})]
    whole = WandbLogger(**{"trainer/global_step": 2, "loss/train": 0.8, "loss/val": 0.4})
    stock_loggers.give_again([whole], tmp_path / "metrics.csv", {})
    assert whole.rows == [(3, {"loss/train": 0.7})]


@pytest.mark.parametrize(
    "noted", ["a/../../../victim", "a/../../..", "*", "", "..", 3, ["a"], "a?b", "[a]", "o"]
)
def test_what_run_json_notes_of_a_tracker_names_no_other_files(noted, tmp_path):
    """Offline, the files of the processes before are removed: by their id alone."""
    run, outputs = rnnlab.Run(tmp_path / "outputs" / "run"), tmp_path / "outputs"
    for name in ("wandb/offline-run-1-a", "wandb/offline-run-1-mine", "comet"):
        (run.folder / name).mkdir(parents=True)
    kept = [outputs / "victim" / "thesis.txt", run.folder / "comet" / "other.zip", outputs / "other.zip"]
    for file in kept:
        file.parent.mkdir(exist_ok=True)
        file.write_text("years of work")
    (run.folder / "run.json").write_text(json.dumps({"status": "stopped", "loggers": {"one": noted}}))
    wandb = {"_target_": "lightning.pytorch.loggers.WandbLogger", "offline": True, "save_dir": run.folder}
    comet = {
        "_target_": "rnnlab.training.tracking.Comet",
        "online": False,
        "offline_directory": run.folder / "comet",
    }
    for node in (wandb, comet):
        assert continuing(run, "one", node) in ({}, {"id": noted}, {"experiment_key": noted})
    assert all(file.exists() for file in kept) and (run.folder / "wandb" / "offline-run-1-mine").exists()
    (run.folder / "run.json").write_text(json.dumps({"status": "stopped", "loggers": {"one": "mine"}}))
    assert continuing(run, "one", wandb) == {"id": "mine"}
    assert not (run.folder / "wandb" / "offline-run-1-mine").exists()


def test_a_summary_that_holds_no_number_is_believed():
    summary = {"trainer/global_step": 4, "loss/val": {"min": 0.5}}
    there = SimpleNamespace(experiment=SimpleNamespace(summary=summary))
    assert GIVEN["WandbLogger"](there, [(4, {"loss/val": 0.5})]) == {"loss/val": 4}
