"""One run in two processes is the run of one: its curve and scores, its checkpoints, and what befalls it."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch.utils.data import DataLoader, TensorDataset

import rnnlab
import warm
from rnnlab.data import Sine
from rnnlab.data.chars import Segment
from rnnlab.errors import RunFailed, UserError
from rnnlab.recurrence.carry import joined, part
from rnnlab.runs.run import Run
from rnnlab.tasks import Forecaster
from rnnlab.training.checkpoints import Checkpoints
from rnnlab.training.distributed import World, is_of_connection, settle
from rnnlab.training.leader import ENDED, Leader, RankFailed
from rnnlab.training.recorder import Recorder
from waiting import PATIENCE, until

NOISY = ("model.cell=lstm", "model.num_layers=2", "model.dropout=0.3", "model.recurrent_dropout=0.2",
         "model.zoneout=0.1", "model.input_dropout=0.1", "trainer.accumulate_grad_batches=2",
         "trainer.gradient_clip_val=0.5", "data.batch_size=17", "scheduler=cosine")  # fmt: skip
TEXT = ("experiment=pydoc", "model.hidden_size=8", "data.batch_size=5", "data.segment=12", "data.limit=3000",
        "model.cell=lstm", "trainer.max_steps=30", "trainer.val_check_interval=8",
        "trainer.accelerator=cpu", "~callbacks.progress", "~callbacks.pictures", "trainer.threads=1",
        "checkpoint.every_n_steps=7")  # fmt: skip
TOKENS = ("experiment=markers", "data.n_sequences=171", "data.batch_size=45", "data.max_length=12",
          "model.hidden_size=7", "trainer.max_epochs=2", "trainer.accelerator=cpu", "~callbacks.progress",
          "~callbacks.pictures", "trainer.threads=1")  # fmt: skip


@pytest.fixture(autouse=True)
def warm_followers(monkeypatch):
    """Runs that are begun in processes of their own begin their followers as users' do."""
    warm.begin_warm("rnnlab.training.leader", put=monkeypatch.setattr)


@pytest.fixture
def text(tmp_path):
    drawn = np.random.default_rng(0).choice(list("abcde fg\n"), 4000)
    (tmp_path / "text.txt").write_text("".join(drawn))
    return (*TEXT, f"data.path={tmp_path / 'text.txt'}")


def apart(one, other):
    """The greatest difference of all that two runs measured, over the size of the first value of each metric."""
    assert one.metrics.keys() == other.metrics.keys() and one.metrics
    found = [0.0]
    for name, (steps, values) in one.metrics.items():
        assert steps.tolist() == other.metrics[name][0].tolist(), name
        found.append(float(np.abs(values - other.metrics[name][1]).max() / max(abs(values[0]), 1e-12)))
    scores = one.results["test"], other.results["test"]
    return max(*found, *(abs(scores[0][k] - scores[1][k]) / max(abs(scores[0][k]), 1e-12) for k in scores[0]))


def befalls(what, rank, step, marker):
    inner = f"_target_: befalling.Befalls, what: {what}, rank: {rank}, step: {step}, marker: {marker}"
    return f"+callbacks.befalls={{{inner}}}"


# ---------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("engine", ["torch", "reference", "native"])
def test_forecasts_with_all_that_is_drawn_and_short_batches(small, engine):
    """120 windows in batches of 17, the last of 1 row, which one of the ranks lacks."""
    asked = (*NOISY, f"model.engine={engine}") if engine != "torch" else ("model.engine=torch", *NOISY[:3],
             *NOISY[6:])  # fmt: skip
    one, two = small(*asked), small(*asked, "trainer.devices=2")
    assert len(one.metrics["loss/train"][0]) == 12 and one.id != two.id
    assert apart(one, two) < 1e-5


def test_text_of_five_rows_is_carried_by_each_rank(small, text):
    one, two = small(base=text), small("trainer.devices=2", base=text)
    assert apart(one, two) < 1e-5
    kept = [torch.load(run.last_checkpoint, weights_only=True)["carry"]["state"] for run in (one, two)]
    assert [t.shape for t in kept[1][0]] == [(5, 8), (5, 8)]
    for mine, theirs in zip(kept[0][0], kept[1][0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_scores_that_are_no_means_are_those_of_all_rows(small):
    """137 sequences in batches of 45: one of 2 rows; and 17 of the test part."""
    one, two = small(base=TOKENS), small("trainer.devices=2", base=TOKENS)
    assert apart(one, two) < 1e-5
    assert {"f1", "auroc", "accuracy"} < two.results["test"].keys()


def test_a_part_that_is_frozen_for_a_while(small):
    asked = ("+callbacks.freezes={_target_: befalling.Freezes}", "model.engine=reference")
    one, two = small(*asked), small(*asked, "trainer.devices=2")
    assert apart(one, two) < 1e-5
    assert apart(one, small("model.engine=reference", "name=free")) > 1e-3


class Own(Forecaster):
    """Is none of rnnlab's modules, so that Lightning's own loops train it."""


def test_lightnings_own_loops(small):
    asked = ("model._target_=test_distributed.Own", "model.engine=reference", "data.batch_size=17",
             "trainer.accumulate_grad_batches=2")  # fmt: skip
    one, two = small(*asked), small(*asked, "trainer.devices=2")
    assert apart(one, two) < 1e-5


def test_in_bf16_the_gradients_of_parts_are_rounded_before_they_are_summed(small):
    """So the curves part by more than in float32, from the first update on; docs/accelerators.md says how far."""
    asked = ("trainer.precision=bf16-mixed", "model.engine=torch")
    one, two = small(*asked), small(*asked, "trainer.devices=2")
    first = [run.metrics["loss/train"][1][0] for run in (one, two)]
    assert first[0] == pytest.approx(first[1], rel=1e-6)
    assert 1e-5 < apart(one, two) < 2e-2


def test_early_stopping_and_stock_checkpoints_agree(small, tmp_path):
    stock = "{_target_: lightning.pytorch.callbacks.ModelCheckpoint, monitor: loss/val, dirpath: '{run_folder}/kept'}"
    asked = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "trainer.max_epochs=12",
             "optimizer.lr=0.1", "~callbacks.progress", "~callbacks.pictures")  # fmt: skip
    one, two = small(*asked), small(*asked, "trainer.devices=2")
    assert apart(one, two) < 1e-5 and len(two.metrics["loss/val"][0]) < 12
    kept = f"+callbacks.kept={stock.replace('{run_folder}', str(tmp_path))}"
    rate = "+callbacks.rate={_target_: lightning.pytorch.callbacks.LearningRateMonitor}"  # wants a logger
    assert small(kept, rate, "trainer.devices=2", "name=stock").status == "finished"
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".ckpt"]


def test_rank_0_alone_writes(small, tmp_path):
    run = small("trainer.devices=2", "name=alone")
    assert {path.name for path in run.folder.iterdir()} == {
        "run.json", "config.yaml", "overrides.yaml", "manifest.json", "metrics.csv", "checkpoints",
        *(path.name for path in run.folder.glob("events.out*"))}  # fmt: skip
    steps = run.metrics["loss/train"][0].tolist()
    assert steps == sorted(set(steps))


def test_a_follower_keeps_the_best_weights_and_writes_none(tmp_path):
    for writes in (False, True):
        kept = Checkpoints(Run(tmp_path), Recorder(), "loss/val", "min", writes=writes)
        kept.best_weights = {"weight": torch.zeros(2)}
        kept.write_best(None)
        assert bool(list(tmp_path.rglob("*.ckpt"))) == writes


# ---------------------------------------------------------------- what befalls a rank


def test_a_killed_rank_ends_the_run_which_goes_on_with_its_bits(small, text, tmp_path):
    marker = tmp_path / "marker"
    asked = ("trainer.devices=2", befalls("SIGKILL", 1, 10, marker))
    with pytest.raises(RankFailed, match=r"^rank 1 was killed \(SIGKILL\)"):
        small(*asked, base=text)
    (run,) = rnnlab.runs(tmp_path / "pydoc")
    assert run.status == "failed" and "rank 1 was killed" in run.record["why"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)
    after = small(*asked, base=text)
    assert after.folder == run.folder and after.status == "finished"
    whole = small(*asked, outputs=tmp_path / "whole", base=text)
    assert after.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    one, other = (torch.load(r.last_checkpoint, weights_only=True) for r in (after, whole))
    assert all(torch.equal(v, other["state_dict"][k]) for k, v in one["state_dict"].items())


def test_an_error_of_a_rank_is_the_runs(small, tmp_path):
    with pytest.raises(RankFailed, match=r"^rank 1: ValueError: it befell rank 1$"):
        small("trainer.devices=2", befalls("raise", 1, 4, tmp_path / "marker"))
    (run,) = rnnlab.runs(tmp_path / "sine")
    assert run.status == "failed" and "rank 1: ValueError: it befell rank 1" in run.record["why"]
    assert "befalling.py" in (run.folder / "traceback.txt").read_text()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_any_rank_stops_all_behind_one_step(small, text, tmp_path, rank):
    asked = ("trainer.devices=2", befalls("SIGTERM", rank, 9, tmp_path / "marker"))
    run = small(*asked, base=text)
    assert (run.status, run.record["why"]) == ("stopped", "SIGTERM at step 9")
    run = small(*asked, base=text)
    whole = small(*asked, outputs=tmp_path / "whole", base=text)
    assert run.status == "finished"
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


def test_generators_of_a_users_callback_go_on_by_rank(small, tmp_path):
    asked = ("trainer.devices=2", "+callbacks.draws={_target_: befalling.Draws}")
    stops = befalls("SIGTERM", 0, 6, tmp_path / "marker")
    assert small(*asked, stops).status == "stopped"
    run = small(*asked, stops)
    whole = small(*asked, stops, outputs=tmp_path / "whole")
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


@pytest.mark.parametrize(("rank", "hook"), [(1, "batch"), (0, "batch"), (1, "validation")])
def test_all_stop_where_a_callback_of_one_asks_for_it(small, rank, hook):
    asked = f"_target_: befalling.StopsAlone, rank: {rank}, step: 2, hook: {hook}"
    run = small("trainer.devices=2", f"+callbacks.stops={{{asked}}}", "trainer.val_check_interval=2")
    assert run.status == "stopped early" and run.results["steps"] < 6


def test_weights_that_part_end_the_run(small):
    with pytest.raises(RunFailed, match="the weights differ between the 2 processes at step"):
        small("trainer.devices=2", "+callbacks.noise={_target_: befalling.Noise}")


def test_a_generator_without_a_seed_draws_the_same_on_each_rank_again(small, tmp_path):
    asked = ("trainer.devices=2", "+callbacks.noise={_target_: befalling.Noise, unseeded: true}")
    one, again = small(*asked), small(*asked, outputs=tmp_path / "again")
    assert one.metrics_file.read_bytes() == again.metrics_file.read_bytes()


def test_a_checkpoint_that_one_process_would_take_alone_is_refused(small):
    saves = "{_target_: lightning.pytorch.callbacks.OnExceptionCheckpoint, dirpath: x}"
    with pytest.raises(UserError, match=r"callbacks\.saves saves when one process fails"):
        small("trainer.devices=2", f"+callbacks.saves={saves}")


class Shuffled(Sine):
    """Has a torch DataLoader of its own, which shuffles by the global generator."""

    def train_dataloader(self):
        return DataLoader(TensorDataset(*self.examples("train", 120)), batch_size=17, shuffle=True)


def test_a_loader_of_the_users_own_shuffles_alike_on_each_rank(small):
    asked = ("data._target_=test_distributed.Shuffled", "model.engine=reference")
    one, two = small(*asked), small(*asked, "trainer.devices=2")
    assert apart(one, two) < 1e-5


def test_a_follower_that_ended_well_is_no_cause():
    ours, theirs = Pipe()
    theirs.send(ENDED)
    leader = Leader.__new__(Leader)
    leader.followers = {1: (SimpleNamespace(poll=lambda: None, wait=lambda: 0), ours)}
    assert leader._cause() is None


def in_a_process(*words):
    path = os.pathsep.join([str(Path(rnnlab.__file__).parents[1]), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, "-m", "rnnlab", "train", *words], env=os.environ | {"PYTHONPATH": path}
    )


def test_a_second_ctrl_c_ends_a_run_that_waits_for_a_rank_that_hangs(text, small, tmp_path):
    marker = tmp_path / "marker"
    asked = ("trainer.devices=2", befalls("SIGSTOP", 1, 10, marker))
    process = in_a_process(*text, *asked, f"paths.outputs={tmp_path}")
    until(marker.exists)
    hanging = int(marker.read_text())
    until(lambda: "stopped" in Path(f"/proc/{hanging}/status").read_text())
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        until(lambda: not pending(process.pid))
    assert process.wait(PATIENCE) == 130
    assert not followers_of(process.pid) and not Path(f"/proc/{hanging}").exists()
    (run,) = rnnlab.runs(tmp_path / "pydoc")
    assert (run.status, run.record["why"]) == ("stopped", "interrupted")
    after = small(*asked, base=text)
    whole = small(*asked, outputs=tmp_path / "whole", base=text)
    assert after.folder == run.folder and after.status == "finished"
    assert after.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


def pending(pid):
    """Whether a signal waits to be delivered: a second one of its kind would be lost."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return any(int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd")))
    return False


def test_rank_0_that_is_killed_leaves_nobody_behind(text, small, tmp_path):
    marker = tmp_path / "marker"
    asked = ("trainer.devices=2", befalls("SIGKILL", 0, 10, marker))
    process = in_a_process(*text, *asked, f"paths.outputs={tmp_path}")
    assert process.wait(PATIENCE) == -signal.SIGKILL
    until(lambda: not followers_of(process.pid))
    run = small(*asked, base=text)
    whole = small(*asked, outputs=tmp_path / "whole", base=text)
    assert run.status == "finished"
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


def followers_of(leader):
    """Followers whose leader is no longer there, or is this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
            if "follower.main" in path.read_text() and parent in (1, leader):
                found.append(int(path.parent.name))
    return found


# ---------------------------------------------------------------- what cannot be


class OwnStep(Forecaster):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)


class OwnModule(LightningModule):
    def __init__(self, **options):
        super().__init__()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("model._target_=test_distributed.OwnStep",), r"OwnStep has a training_step of its own, .*devices=1"),
        (("model={_target_: test_distributed.OwnModule}",), "several processes can train only rnnlab's own"),
        (("data.batch_size=1",), "trainer.devices=2: a batch has 1 row, and each process needs one"),
    ],
)  # fmt: skip
def test_refusals(small, tmp_path, asked, said):
    with pytest.raises(UserError, match=said):
        small(
            *asked, "trainer.devices=2", base=("experiment=sine", "callbacks=none", "trainer.accelerator=cpu")
        )
    assert not (tmp_path / "sine").exists()


def test_an_object_that_cannot_be_made_elsewhere(tmp_path):
    class Local(Callback):
        def __init__(self, held):
            self.held = held

    with pytest.raises(UserError, match=r"trainer.devices=2: Local cannot be made in another process: .+"):
        asked = ("experiment=sine", "data.n_points=200", "model.hidden_size=8", "trainer.max_epochs=1",
                 "trainer.accelerator=cpu", "trainer.devices=2", f"paths.outputs={tmp_path}")  # fmt: skip
        rnnlab.train(*asked, callbacks=[Local(threading.Lock())], quiet=True)


def test_as_many_devices_as_there_are_is_no_number(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    settle({"devices": "auto", "accelerator": "cpu"})
    with pytest.raises(UserError, match=r"trainer.devices=-1: this machine has 4.*set trainer.devices=4"):
        settle({"devices": -1, "accelerator": "gpu"})


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("rows", [1, 2, 4, 5, 17])
def test_each_row_belongs_to_one_rank(size, rows):
    batch = Segment(torch.arange(rows)[:, None], torch.arange(rows)[:, None], True)
    seen, shares = [], []
    for rank in range(size):
        taken, share = World(rank, size).rows(batch)
        assert isinstance(taken, Segment) and taken.first is True
        shares.append(share)
        seen += taken.x[:, 0].tolist() if share else []
        assert len(taken.x) == (round(share * rows) or 1)
    assert seen == list(range(rows)) and sum(shares) == pytest.approx(1.0)


def test_a_carry_is_cut_into_parts_and_joined():
    whole = {"state": [[torch.arange(10).view(5, 2), torch.arange(5)[:, None]], [torch.ones(5, 3)]]}
    parts = [part(whole, World(rank, 2).part) for rank in range(2)]
    assert [len(one["state"][0][0]) for one in parts] == [2, 3]
    again = joined(parts)
    assert all(torch.equal(a, b) for one, two in zip(whole["state"], again["state"], strict=True)
               for a, b in zip(one, two, strict=True))  # fmt: skip
    assert joined([{}, {}]) == {} and part({}, World(0, 2).part) == {}


def test_weights_of_any_shape_are_compared():
    module = torch.nn.Module()
    module.scale = torch.nn.Parameter(torch.tensor(0.5))
    module.weight = torch.nn.Parameter(torch.ones(3, 2).T)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        World(0, 1).align(module, step=1)
    finally:
        torch.distributed.destroy_process_group()


def test_an_error_of_the_connection_is_told_from_others():
    assert is_of_connection(
        RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:2")
    )
    assert not is_of_connection(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_of_connection(ValueError("gloo"))
