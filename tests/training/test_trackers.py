"""What trackers hold of a run beside its curves, read back from what the real packages wrote."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

import rnnlab
from rnnlab.cli import main
from rnnlab.training import trackers

os.environ.setdefault("TRACKIO_DIR", tempfile.mkdtemp())  # read when trackio is imported
SMALL = ("experiment=sine", "data.n_points=200", "trainer.accelerator=cpu", "model.hidden_size=4",
         "trainer.max_epochs=2", "trainer.threads=1", "callbacks=none", "tags=[paper,first]")  # fmt: skip


def installed(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # a folder wandb/ of runs is no package


KEPT = {"best.ckpt", "config.yaml", "manifest.json", "metrics.csv"}
needs_mlflow = pytest.mark.skipif(not installed("mlflow"), reason="mlflow is not installed: not tried")
needs_wandb = pytest.mark.skipif(not installed("wandb"), reason="wandb is not installed: not tried")


def of_mlflow(database):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


def of_wandb(folder):
    """Of each run that was written offline: its record, its summary and its exit code."""
    from test_loggers_resumed import leveldb
    from wandb.proto import wandb_internal_pb2

    found = []
    for file in sorted(folder.glob("*/wandb/offline-run-*/*.wandb")):
        run, summary, code = None, {}, None
        for record in map(wandb_internal_pb2.Record.FromString, leveldb(file.read_bytes())):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run = run or record.run
            elif kind == "summary":
                summary |= {
                    i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update
                }
            elif kind == "exit":
                code = record.exit.exit_code
        found.append((run, summary, code))
    return found


@needs_mlflow
def test_mlflow_has_scores_group_tags_and_status(tmp_path):
    run = rnnlab.train(*SMALL, "logger=mlflow", f"paths.outputs={tmp_path}", quiet=True)
    with pytest.raises(rnnlab.RunFailed):
        rnnlab.train(*SMALL, "logger=mlflow", "optimizer.lr=1e30", "optimizer=sgd", "trainer.divergence_factor=2",
                     f"paths.outputs={tmp_path}", quiet=True)  # fmt: skip
    found = {one.data.tags["status"]: one for one in of_mlflow(tmp_path / "mlflow.db")}
    done = found["finished"]
    assert done.info.status == "FINISHED" and found["failed"].info.status == "FAILED"
    assert done.data.metrics["test/mse"] == pytest.approx(run.results["test"]["mse"])
    assert done.data.metrics["best/loss/val"] == pytest.approx(run.results["best"]["value"])
    assert done.data.tags["group"] == run.record["label"] and done.data.tags["tags"] == "paper,first"
    assert done.data.params["model.hidden_size"] == "4"


@pytest.mark.parametrize("name", ["mlflow", "aim"])
def test_the_first_sweep_into_no_database(name, tmp_path):
    if not installed(name):
        pytest.skip(f"{name} is not installed: not tried")
    words = [*SMALL, f"logger={name}", f"paths.outputs={tmp_path}", "seed=0,1,2,3", "sweep.workers=4"]
    done = subprocess.run(
        [sys.executable, "-m", "rnnlab", "train", "-m", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if name == "mlflow":
        ended = Counter(one.info.status for one in of_mlflow(tmp_path / "mlflow.db"))
    else:
        ended = Counter(of_aim(run)[2].upper() for run in rnnlab.runs(tmp_path / "sine"))
    assert ended == {"FINISHED": 4}


@needs_wandb
def test_wandb_has_one_run_for_each(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    words = [*SMALL, "logger=wandb", f"paths.outputs={tmp_path}", "optimizer=sgd", "optimizer.lr=1e-2,1e30",
             "trainer.divergence_factor=2", "seed=0,1,2", "sweep.workers=1"]  # fmt: skip
    assert main(["train", "-m", *words]) == 1  # the larger rate fails
    runs = {run.folder.name: run for run in rnnlab.runs(tmp_path / "sine")}
    found = of_wandb(tmp_path / "sine")
    assert {record.display_name for record, _, _ in found} == set(runs) and len(found) == 6
    for record, summary, code in found:
        run = runs[record.display_name]
        assert record.run_group == run.record["label"] and list(record.tags) == ["paper", "first"]
        assert (
            record.job_type == "train"
            and summary["status"] == run.status
            and bool(code) == (run.status == "failed")
        )
        if run.status == "finished":
            assert summary["test/mse"] == pytest.approx(run.results["test"]["mse"])
            assert summary["best/loss/val"] == pytest.approx(run.results["best"]["value"])
    assert len({record.run_group for record, _, _ in found}) == 2


def of_comet(run):
    (archive,) = (run.folder / "comet").glob("*.zip")
    with zipfile.ZipFile(archive) as content:
        said = [json.loads(line) for line in content.read("messages.json").splitlines()]
        tags = json.loads(content.read("experiment.json"))["tags"]
    others = {m["payload"]["key"]: m["payload"]["value"] for m in said if m["type"] == "log_other"}
    scores = {
        m["payload"]["metric"]["metricName"]: m["payload"]["metric"]["metricValue"]
        for m in said
        if m["type"] == "metric_msg"
    }
    config = {
        m["payload"]["param"]["paramName"]: m["payload"]["param"]["paramValue"]
        for m in said
        if m["type"] == "parameter_msg"
    }
    return others["Name"], others["group"], others["status"], set(tags) - {others["group"]}, scores, config


def of_trackio(run):
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    project = run.config["logger"]["trackio"]["project"]
    (found,) = trackio.Api().runs(project)
    rows = SQLiteStorage.get_logs(project, found.name)
    scores = {name: value for row in rows for name, value in row.items()}
    config = found.config
    return found.name, config["_Group"], scores["status"], set(config["tags"]), scores, config


def of_aim(run):
    import aim

    repo = run.config["logger"]["aim"]["repo"]
    found = aim.Run(run.record["loggers"]["aim"], repo=repo, system_tracking_interval=None)
    scores = {metric.name: metric.values.last()[1] for metric in found.metrics()}
    return found.name, found["group"], found["status"], set(found.tags), scores, found["hparams"]


@pytest.mark.parametrize(
    ("name", "package", "read"),
    [("comet", "comet_ml", of_comet), ("trackio", "trackio", of_trackio), ("aim", "aim", of_aim)],
)
def test_a_tracker_has_name_group_status_tags_scores_and_config(tmp_path, name, package, read):
    if not installed(package):
        pytest.skip(f"{package} is not installed: not tried")
    own = {"comet": ["logger.comet.online=false"], "trackio": [f"logger.trackio.project=a{os.getpid()}"]}
    run = rnnlab.train(*SMALL, f"logger={name}", *own.get(name, ()), f"paths.outputs={tmp_path}", quiet=True)
    called, group, status, tags, scores, config = read(run)
    assert called == run.folder.name and group == run.record["label"] and status == "finished"
    assert tags == {"paper", "first"} and str(config["model.hidden_size"]) == "4"
    assert scores["test/mse"] == pytest.approx(run.results["test"]["mse"])
    assert scores["best/loss/val"] == pytest.approx(run.results["best"]["value"])


@needs_mlflow
def test_mlflow_keeps_the_model_that_it_is_asked_to(tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)  # where MLflow keeps files that belong to a database
    run = rnnlab.train(
        *SMALL, "logger=mlflow", "+logger.mlflow.log_model=true", f"paths.outputs={tmp_path}", quiet=True
    )
    (found,) = of_mlflow(tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert {f.path for f in client.list_artifacts(found.info.run_id)} == KEPT
    (tmp_path / "there").mkdir()
    kept = client.download_artifacts(found.info.run_id, "best.ckpt", str(tmp_path / "there"))
    assert Path(kept).read_bytes() == (run.folder / "checkpoints" / "best.ckpt").read_bytes()


@needs_wandb
def test_wandb_keeps_the_model_that_it_is_asked_to(tmp_path, monkeypatch):
    from test_loggers_resumed import leveldb
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    rnnlab.train(
        *SMALL, "logger=wandb", "+logger.wandb.log_model=true", f"paths.outputs={tmp_path}", quiet=True
    )
    (file,) = (tmp_path / "sine").glob("*/wandb/offline-run-*/*.wandb")
    records = [wandb_internal_pb2.Record.FromString(one) for one in leveldb(file.read_bytes())]
    found = [one.artifact for one in records if one.WhichOneof("record_type") == "artifact"]
    found += [one.request.log_artifact.artifact for one in records if one.request.HasField("log_artifact")]
    assert any(
        {entry.path for entry in one.manifest.contents} == KEPT and one.type == "model" for one in found
    )


@pytest.mark.skipif(not installed("comet_ml"), reason="comet_ml is not installed: not tried")
def test_comet_keeps_the_model_that_it_is_asked_to(tmp_path):
    asked = ["logger.comet.online=false", "+logger.comet.log_model=true", f"paths.outputs={tmp_path}"]
    run = rnnlab.train(*SMALL, "logger=comet", *asked, quiet=True)
    (archive,) = (run.folder / "comet").glob("*.zip")
    with zipfile.ZipFile(archive) as content:
        said = [json.loads(line) for line in content.read("messages.json").splitlines()]
    assert {m["payload"]["additional_params"]["fileName"] for m in said if m["type"] == "file_upload"} >= KEPT


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """A stand-in for MLFlowLogger, and a list of (logger, files) that it was given to keep."""

    class MLFlowLogger:
        pass

    kept = []
    monkeypatch.setitem(trackers.KEPT, "MLFlowLogger", lambda logger, files: kept.append((logger, files)))
    monkeypatch.setitem(trackers.CONCLUDED, "MLFlowLogger", lambda *_: None)
    (tmp_path / "config.yaml").write_text("")
    return MLFlowLogger, kept


def keeping(log_model):
    return {"_target_": "lightning.pytorch.loggers.MLFlowLogger", "log_model": log_model}


def test_a_tracker_gets_files_where_it_is_asked_to_keep_the_model(tmp_path, mlflow):
    kind, kept = mlflow
    for asked in (False, None, True, "all"):
        nodes = {"mlflow": keeping(asked), "none": None}
        trackers.conclude([kind()], "finished", {}, "loss/val", nodes, tmp_path)
    assert [files for _, files in kept] == [[tmp_path / "config.yaml"]] * 2


def test_of_two_trackers_of_one_kind_only_the_one_that_is_asked_gets_files(tmp_path, mlflow):
    kind, kept = mlflow
    loggers = [kind(), kind()]
    for first in (True, False):
        nodes = {"one": keeping(first), "two": keeping(not first)}
        trackers.conclude([object(), *loggers], "finished", {}, "loss/val", nodes, tmp_path)
    assert [logger for logger, _ in kept] == loggers


def test_only_trackers_are_told(monkeypatch):
    class Other:
        pass

    heard = []

    class WandbLogger:
        pass

    monkeypatch.setitem(
        trackers.CONCLUDED, "WandbLogger", lambda logger, status, scores: heard.append((status, scores))
    )
    results = {"best": {"value": 1.5, "step": 4}, "test": {"mse": 2.0}}
    trackers.begin([Other(), WandbLogger()], "cell-gru", [])
    trackers.conclude([Other(), WandbLogger()], "pruned", results, "loss/val")
    trackers.conclude([WandbLogger()], "failed", {}, "loss/val")
    assert heard == [("pruned", {"best/loss/val": 1.5, "best/step": 4.0, "test/mse": 2.0}), ("failed", {})]


def test_a_tracker_that_is_away_at_the_end_costs_no_run_and_no_other_tracker_its_scores(
    tmp_path, monkeypatch, capsys
):
    def away(*_):
        raise ConnectionError("no route to it")

    heard = []
    monkeypatch.setitem(trackers.CONCLUDED, "TensorBoard", away)
    monkeypatch.setitem(trackers.KEPT, "CSVLogger", away)
    monkeypatch.setitem(trackers.CONCLUDED, "CSVLogger", lambda logger, status, scores: heard.append(status))
    nodes = {name: {"_target_": f"x.{name}", "log_model": True} for name in ("TensorBoard", "CSVLogger")}
    (tmp_path / "config.yaml").write_text("")
    loggers = [type(name, (), {})() for name in nodes]
    trackers.conclude(loggers, "finished", {}, "loss/val", nodes, tmp_path)
    assert heard == ["finished"]
    said = capsys.readouterr().err
    assert "TensorBoard did not hear how the run ended: ConnectionError: no route to it" in said
    assert "CSVLogger did not get the run's files: ConnectionError: no route to it" in said
    run = rnnlab.train(*SMALL, f"paths.outputs={tmp_path}", quiet=True)
    assert run.status == "finished" and "test" in run.results


@pytest.mark.skipif(not installed("trackio"), reason="trackio is not installed: not tried")
def test_trackio_keeps_the_model_that_it_is_asked_to(tmp_path):
    from trackio.sqlite_storage import SQLiteStorage

    project = f"kept{os.getpid()}"
    asked = [f"logger.trackio.project={project}", "+logger.trackio.log_model=true"]
    rnnlab.train(*SMALL, "logger=trackio", *asked, f"paths.outputs={tmp_path}", quiet=True)
    (one,) = SQLiteStorage.list_artifacts(project)
    manifest = SQLiteStorage.get_artifact_manifest(project, one["name"], None)
    assert one["type"] == "model" and {entry["path"] for entry in manifest["manifest"]} == KEPT


@pytest.mark.skipif(not installed("aim"), reason="aim is not installed: not tried")
def test_aim_keeps_the_model_that_it_is_asked_to(tmp_path):
    import aim

    run = rnnlab.train(
        *SMALL, "logger=aim", "+logger.aim.log_model=true", f"paths.outputs={tmp_path}", quiet=True
    )
    found = aim.Run(run.record["loggers"]["aim"], repo=str(tmp_path), system_tracking_interval=None)
    assert set(found.artifacts) == KEPT
    copy = found.artifacts["best.ckpt"].download(str(tmp_path / "there"))
    assert Path(copy).read_bytes() == (run.folder / "checkpoints" / "best.ckpt").read_bytes()


def test_aims_logger_is_built_without_what_it_does_not_know():
    node = {"_target_": "aim.pytorch_lightning.AimLogger", "repo": ".", "log_model": True}
    assert trackers.arguments(node) == {"_target_": node["_target_"], "repo": "."}
    other = {"_target_": "lightning.pytorch.loggers.MLFlowLogger", "log_model": True}
    assert trackers.arguments(other) == other
