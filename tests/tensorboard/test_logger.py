"""What TensorBoard finds in a run's events beside the scalars."""

import json
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import api_pb2, metadata

from rnnlab.errors import UserError
from rnnlab.runs.run import Run
from rnnlab.tensorboard import events, summaries
from rnnlab.tensorboard.columns import outcome, parameters
from rnnlab.tensorboard.event_files import show_failure
from rnnlab.tensorboard.logger import DIFF, TensorBoard
from rnnlab.training.recorder import Diverged


def read(run):
    found = EventAccumulator(str(run.folder), size_guidance={"tensors": 0, "scalars": 0})
    found.Reload()
    return found


def text(run, tag):
    return read(run).Tensors(tag)[0].tensor_proto.string_val[0].decode()


def session(run):
    found = read(run).SummaryMetadata
    start = metadata.parse_session_start_info_plugin_data(
        found("_hparams_/session_start_info").plugin_data.content
    )
    end = metadata.parse_session_end_info_plugin_data(found("_hparams_/session_end_info").plugin_data.content)
    return start, end


def test_hyperparameters_are_what_was_asked_with_types_and_seeds_share_a_group(small):
    asked = (
        "model.cell=gru",
        "model.hidden_size=8",
        "optimizer=sgd",
        "data.noise_std=0.2",
        "model.subtract_last=true",
    )
    runs = [small(*asked, f"seed={seed}") for seed in (0, 1)]
    (start, end), (other, _) = map(session, runs)
    values = {k: v.WhichOneof("kind") for k, v in start.hparams.items()}
    assert values["model.cell"] == "string_value" and start.hparams["model.cell"].string_value == "gru"
    assert (
        values["model.hidden_size"] == "number_value" and start.hparams["model.hidden_size"].number_value == 8
    )
    assert start.hparams["model.subtract_last"].bool_value is True
    assert start.hparams["optimizer"].string_value == "sgd"
    assert "seed" not in values and "paths.outputs" not in values and "callbacks.progress" not in values
    assert start.group_name == other.group_name == runs[0].record["group"] != runs[0].id
    assert end.status == api_pb2.STATUS_SUCCESS
    assert start.monitor_url == runs[0].folder.absolute().as_uri()


def test_a_stopped_run_has_no_end_and_one_that_goes_on_is_opened_once(small, monkeypatch):
    from stopping import StopAt

    import rnnlab.training.stages as training

    make = training.make_trainer
    asked = ("trainer.max_epochs=5", "callbacks=inspect", "callbacks.memory.every=1")
    monkeypatch.setattr(
        training,
        "make_trainer",
        lambda c, r, t, callbacks, **how: make(c, r, t, [StopAt(9), *callbacks], **how),
    )
    run = small(*asked)
    assert run.status == "stopped"
    assert "_hparams_/session_end_info" not in read(run).Tags()["tensors"]
    monkeypatch.setattr(training, "make_trainer", make)
    run = small(*asked)
    assert run.status == "finished" and session(run)[1].status == api_pb2.STATUS_SUCCESS
    found = read(run)
    for tag in (
        "run/config",
        "run/asked",
        "run/manifest",
        "_hparams_/session_start_info",
        "custom_scalars__config__",
    ):
        assert len(found.Tensors(tag)) == 1, tag
    for tag in ("loss/train", "recurrence/memory_steps", "reference/mse_persistence"):
        steps = [e.step for e in found.Scalars(tag)]
        assert steps == sorted(set(steps)), tag


def test_a_failed_run_is_a_failure(small, tmp_path):
    import rnnlab

    with pytest.raises(Diverged):
        small("optimizer.lr=1e6")
    (run,) = rnnlab.runs(tmp_path / "sine")
    assert session(run)[1].status == api_pb2.STATUS_FAILURE
    assert "Diverged: the loss has grown" in text(run, "run/failure")
    assert "loss/train" in read(run).Tags()["scalars"]


def test_a_run_that_could_not_begin_leaves_nothing(small, tmp_path):
    with pytest.raises(UserError, match="save_top_k"):
        small(
            "+callbacks.best={_target_: lightning.pytorch.callbacks.ModelCheckpoint, save_top_k: -5}",
            "seed=4",
        )
    assert not (tmp_path / "sine").exists()


def test_a_killed_run_that_was_marked_as_failed_is_ended_once_behind_its_last_whole_record(small):
    run = small()
    whole = b"".join(r for r, event in events.framed_events(run.events_file.read_bytes())
                     if summaries.END.encode() not in event)  # fmt: skip
    torn = events.record(summaries.text("torn", "x" * 100))[:60]
    run.events_file.write_bytes(whole + torn)
    run.update(status="failed", why="killed by SIGKILL")
    for _ in range(2):
        show_failure(run)
    assert session(run)[1].status == api_pb2.STATUS_FAILURE and "SIGKILL" in text(run, "run/failure")
    assert len(read(run).Tensors("run/failure")) == len(read(run).Tensors("run/config")) == 1
    assert "torn" not in read(run).Tags()["tensors"]
    run.events_file.unlink()  # it had not written anything yet
    config = (run.folder / "config.yaml").read_bytes()
    (run.folder / "config.yaml").write_bytes(b"\x00: [")  # nor is what is broken any reason to stop a sweep
    show_failure(Run(run.folder))
    assert not run.events_file.exists()
    (run.folder / "config.yaml").write_bytes(config)
    show_failure(run)
    assert session(run)[0].hparams["model.hidden_size"].number_value == 8
    assert session(run)[1].status == api_pb2.STATUS_FAILURE


def test_words_in_a_text_do_not_hide_a_failure(small):
    run = small()
    diff = summaries.text("run/diff", f"+START, END = {summaries.START!r}, {summaries.END!r}")
    run.events_file.write_bytes(events.header() + events.record(diff))
    run.update(status="failed", why="killed by SIGKILL")
    show_failure(run)
    assert session(run)[1].status == api_pb2.STATUS_FAILURE and "SIGKILL" in text(run, "run/failure")


def test_a_value_of_several_lines_stays_in_its_row():
    assert summaries.table([("command", "notes=a\nb|c")]).splitlines()[2:] == ["| command | notes=a␊b c |"]


def test_a_run_without_tensorboard_fails_without_it(small, tmp_path):
    import rnnlab

    with pytest.raises(Diverged):
        small("optimizer.lr=1e6", "logger=none")
    (run,) = rnnlab.runs(tmp_path / "sine")
    assert not list(run.folder.glob("events*"))


def test_best_last_excess_size_and_time_are_scalars(small):
    run = small("trainer.max_epochs=5", "optimizer.lr=0.03")
    found, results = read(run), run.results

    def last(tag):
        return found.Scalars(tag)[-1].value

    curves = {"loss/train", "loss/val", "metric/mse", "optim/lr", "optim/grad_norm", "speed/steps_per_s"}
    assert curves <= set(found.Tags()["scalars"]) and all(t.count("/") == 1 for t in found.Tags()["scalars"])
    assert found.Scalars("loss/train")[-1].step == found.Scalars("loss/val")[-1].step == results["steps"]
    assert last("best/mse") == pytest.approx(results["best"]["metrics"]["metric/mse"], rel=1e-6)
    assert last("last/loss") == pytest.approx(results["last"]["metrics"]["loss/val"], rel=1e-6)
    floor = results["floor"]["val"]["mse"]
    assert last("excess/mse") == pytest.approx(results["best"]["metrics"]["metric/mse"] - floor, rel=1e-5)
    assert last("run/parameters") == sum(p.numel() for p in run.model.parameters())
    assert last("run/seconds") == pytest.approx(run.record["seconds"], rel=1e-5)
    lines = found.Scalars("reference/mse_persistence")
    assert [e.step for e in lines] == [0, results["steps"]]
    assert lines[0].value == pytest.approx(results["baselines"]["val"]["persistence"]["mse"], rel=1e-6)
    # the loss is in scaled units: its lines stand where the curve would be
    ratio = results["best"]["metrics"]["metric/mse"] / results["best"]["metrics"]["loss/val"]
    assert floor / last("reference/loss_floor") == pytest.approx(ratio, rel=1e-4)


def test_the_layout_pairs_curves_with_their_lines(small):
    found = read(small())
    layout = Layout.FromString(found.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {c.title: list(c.multiline.tag) for c in layout.category[0].chart}
    assert charts["loss: training and validation"] == [r"^loss/train$", r"^loss/val$", r"^reference/loss_"]
    assert charts["mse, beside baselines and floor"] == ["^metric/mse$", "^reference/mse_"]


def test_text_holds_the_config_what_was_asked_and_how_it_was_made(small):
    run = small("notes=a note")
    assert "notes: a note" in text(run, "run/config") and "notes=a note" in text(run, "run/asked")
    assert run.manifest["engine"]["name"] in text(run, "run/manifest")
    assert run.folder.absolute().as_uri() in text(run, "run/manifest")


def test_what_was_asked_at_its_default_has_a_column_too():
    config = {
        "seed": 3,
        "name": "x",
        "model": {"hidden_size": 32},
        "optimizer": {"lr": 0.1},
        "data": {"seed": 3},
    }
    asked = ["model.hidden_size=32", "+optimizer.lr=0.1", "seed=3", "name=x", "data.seed=3", "~callbacks.a",
             "experiment=sine"]  # fmt: skip
    assert parameters(config, asked) == {"model.hidden_size": 32, "optimizer.lr": 0.1}


def test_a_mapping_that_was_asked_has_a_column_for_each_of_its_keys():
    config = {
        "model": {"options": {"dt": 0.1, "gamma": 2.0, "seed": 3}},
        "callbacks": {"inspect": {"every": 1}},
    }
    asked = ["model.options={dt: 0.1, seed: 3}", "callbacks.inspect={every: 1}"]
    assert parameters(config, asked) == {"model.options.dt": 0.1, "model.options.gamma": 2.0}


def test_a_diff_that_was_cut_says_so(small):
    run = small()
    run.events_file.unlink()
    logger, manifest = TensorBoard(run.folder), {"code": {"diff": "+x\n" * DIFF}}
    logger.begin(SimpleNamespace(run=run, config=run.config, overrides=[], manifest=manifest, task=None,
                                 lengthened=True))  # fmt: skip
    logger.flush()
    assert text(run, "run/diff").endswith("    ... manifest.json has the rest")


def test_the_excess_of_an_accuracy_is_what_is_missing():
    best = {"metrics": {"loss/val": 0.3, "metric/accuracy": 0.9}}
    found = outcome({"best": best, "floor": {"val": {"accuracy": 0.95}}})
    assert found == pytest.approx({"best/loss": 0.3, "best/accuracy": 0.9, "excess/accuracy": 0.05})


def test_start_values_stay_apart_by_type():
    value = summaries.session_start({"a": 1, "b": True, "c": None, "d": [1, 2], "e": "x"}, "g", "file:///f")
    from tensorboard.compat.proto.event_pb2 import Event

    content = Event.FromString(value).summary.value[0].metadata.plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(content)
    kinds = {k: v.WhichOneof("kind") for k, v in start.hparams.items()}
    assert kinds == {"a": "number_value", "b": "bool_value", "c": "string_value", "d": "string_value",
                     "e": "string_value"}  # fmt: skip
    assert json.loads(start.hparams["d"].string_value) == [1, 2]
