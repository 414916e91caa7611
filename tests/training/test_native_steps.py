"""The native engine inside Lightning: many steps a call, and everything as if they had been single."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch.optim.lr_scheduler import LambdaLR

from rnnlab import native
from rnnlab.training.recorder import Diverged

pytestmark = pytest.mark.skipif(
    native.obstacle() is not None, reason=f"the native engine cannot be had here: {native.obstacle()}"
)

SINE = ("model.engine=native", "trainer.max_epochs=4")
DEEP = (*SINE, "model.num_layers=2", "model.dropout=0.2", "scheduler=cosine", "trainer.gradient_clip_val=0.1")
CHARS = (
    "data=chars", "data.limit=20000", "data.segment=20", "data.batch_size=8", "model.hidden_size=16",
    "trainer.max_epochs=-1", "trainer.max_steps=230", "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=50", "trainer.threads=1", "model.engine=native", "trainer.accelerator=cpu",
    "callbacks=none", "model.num_layers=2", "model.dropout=0.2", "optimizer=rmsprop", "optimizer.lr=0.002",
)  # fmt: skip
TOKENS = (
    "data=tokens", "data.n_sequences=300", "trainer.max_epochs=2", "model.engine=native", "trainer.threads=1",
    "model.cell=gru", "optimizer=sgd", "optimizer.lr=0.1", "optimizer.momentum=0.9", "trainer.accelerator=cpu",
    "callbacks=none",
)  # fmt: skip
CASES = {"sine": SINE, "deep": DEEP, "chars": CHARS, "tokens": TOKENS}


@pytest.fixture
def trained(small, tmp_path):
    def train(case: str, *overrides: str, name: str):
        base = {} if case in ("sine", "deep") else {"base": ()}
        return small(*CASES[case], *overrides, outputs=tmp_path / name, **base)

    return train


def bits(run):
    weights = {
        name: torch.load(getattr(run, name), weights_only=True)["state_dict"]
        for name in ("last_checkpoint", "best_checkpoint")
    }
    flat = {f"{name}.{k}": v.numpy().tobytes() for name, state in weights.items() for k, v in state.items()}
    return run.metrics_file.read_bytes(), flat, run.results


@pytest.mark.parametrize("case", CASES)
def test_the_number_of_steps_a_call_changes_no_bit(trained, case):
    single = trained(case, "trainer.steps_per_call=1", name="1")
    assert single.record["engine"]["steps"] == "native"
    for n in ("7", "100", "auto"):
        assert bits(trained(case, f"trainer.steps_per_call={n}", name=n)) == bits(single), n


class Watch(Callback):
    """Looks at every batch."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        Watch.seen.append((trainer.global_step, batch_idx, float(outputs["loss"])))


class Feel(Callback):
    """Looks at every gradient."""

    def on_before_optimizer_step(self, trainer, task, optimizer):
        Feel.norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in task.parameters()])))


@pytest.mark.parametrize("case", CASES)
def test_a_callback_that_looks_at_every_step_sees_it_and_changes_no_bit(trained, case):
    Watch.seen = []
    plain, watched = (
        trained(case, name="a"),
        trained(case, "+callbacks.w._target_=test_native_steps.Watch", name="b"),
    )
    assert bits(watched) == bits(plain)
    steps, losses = plain.metrics["loss/train"]
    assert [step for step, _, _ in Watch.seen] == list(steps)
    np.testing.assert_allclose([loss for _, _, loss in Watch.seen], losses, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_a_callback_that_looks_at_gradients_gets_them_and_changes_no_bit(trained, case):
    Feel.norms = []
    plain, felt = (
        trained(case, name="a"),
        trained(case, "+callbacks.f._target_=test_native_steps.Feel", name="b"),
    )
    assert bits(felt) == bits(plain)
    np.testing.assert_allclose(Feel.norms, plain.metrics["optim/grad_norm"][1], rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_trajectory_is_torchs(trained, case):
    ours, theirs = trained(case, name="a"), trained(case, "model.engine=reference", name="b")
    (steps, losses), (same, others) = ours.metrics["loss/train"], theirs.metrics["loss/train"]
    assert list(steps) == list(same)
    np.testing.assert_allclose(losses, others, rtol=2e-2, atol=1e-4)
    np.testing.assert_allclose(losses[:5], others[:5], rtol=1e-4)
    np.testing.assert_array_equal(ours.metrics["optim/lr"][1], theirs.metrics["optim/lr"][1])


@pytest.mark.parametrize("n", ["1", "3", "auto"])
@pytest.mark.parametrize(
    "schedule", ["step scheduler.step_size=3 scheduler.gamma=0.5", "exponential scheduler.gamma=0.9"]
)
def test_a_step_takes_the_rate_from_before_its_schedule_advances(trained, schedule, n):
    asked = f"scheduler={schedule} scheduler.interval=step trainer.steps_per_call={n}".split()
    run = trained("sine", *asked, name="a")
    rate = (lambda s: 0.5 ** (s // 3)) if "step_size" in schedule else (lambda s: 0.9**s)
    first = run.config["optimizer"]["lr"]
    np.testing.assert_allclose(run.metrics["optim/lr"][1], [first * rate(s) for s in range(16)], rtol=1e-12)
    plain = trained("sine", *asked, "model.engine=reference", name="b")
    np.testing.assert_allclose(run.metrics["loss/train"][1], plain.metrics["loss/train"][1], rtol=1e-3)


CYCLES = {
    "one cycle, adam": "OneCycleLR +scheduler.max_lr=0.02 +scheduler.total_steps=16",
    "one cycle, sgd": "OneCycleLR +scheduler.max_lr=0.2 +scheduler.total_steps=16 optimizer=sgd optimizer.momentum=0.9",
    "cyclic": "CyclicLR +scheduler.base_lr=0.01 +scheduler.max_lr=0.2 +scheduler.step_size_up=3 optimizer=sgd "
    "optimizer.momentum=0.9",
}


@pytest.mark.parametrize("n", ["1", "auto"])
@pytest.mark.parametrize("case", CYCLES)
def test_a_step_takes_the_momentum_from_before_its_schedule_advances(trained, case, n):
    bare = "~scheduler.warmup_steps ~scheduler.final_ratio"
    asked = f"{bare} scheduler._target_=torch.optim.lr_scheduler.{CYCLES[case]}".split()
    run = trained("sine", *asked, f"trainer.steps_per_call={n}", name="a")
    assert run.record["engine"]["steps"] == "native"
    plain = trained("sine", *asked, "model.engine=reference", name="b")
    for scalar in ("optim/lr", "loss/train", "loss/val"):
        np.testing.assert_allclose(run.metrics[scalar][1], plain.metrics[scalar][1], rtol=1e-4)


def decaying(optimizer, **_):
    """A factor of the rate, and on the way the weight decay of the next step."""

    def factor(step: int) -> float:
        optimizer.param_groups[0]["weight_decay"] = 0.05 * step
        return 0.9**step

    return LambdaLR(optimizer, factor)


def test_a_schedule_of_ones_own_may_set_other_options(trained):
    asked = "scheduler._target_=test_native_steps.decaying", "optimizer=adamw"
    run, plain = (
        trained("sine", *asked, name="a"),
        trained("sine", *asked, "model.engine=reference", name="b"),
    )
    assert run.record["engine"]["steps"] == "native"
    for scalar in ("optim/lr", "loss/train"):
        np.testing.assert_allclose(run.metrics[scalar][1], plain.metrics[scalar][1], rtol=1e-4)


STOCK = "lightning.pytorch.callbacks"


@pytest.mark.parametrize(
    "more", [[], [f"+callbacks.lr._target_={STOCK}.LearningRateMonitor"]], ids=["many", "single"]
)
def test_stock_callbacks_limits_and_intervals_come_out_at_their_steps(trained, tmp_path, more):
    def facts(engine):
        folder = tmp_path / engine / "stock"
        run = trained(
            "sine", f"model.engine={engine}", "trainer.max_epochs=-1", "trainer.max_steps=17",
            "trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=5", "trainer.limit_train_batches=3",
            "checkpoint.every_n_steps=6", f"+callbacks.stock._target_={STOCK}.ModelCheckpoint",
            "+callbacks.stock.every_n_train_steps=4", "+callbacks.stock.save_top_k=-1",
            f"+callbacks.stock.dirpath={folder}", "+callbacks.stock.filename='{step}'", *more, name=engine,
        )  # fmt: skip
        last, previous = (
            torch.load(f, weights_only=True) for f in (run.last_checkpoint, run.previous_checkpoint)
        )
        steps = {float(s["step"]) for s in last["optimizer_states"][0]["state"].values()}
        return (
            run.results["steps"], list(run.metrics["loss/val"][0]), sorted(p.name for p in folder.iterdir()),
            last["global_step"], last["epoch"], last["loops"], previous["global_step"], previous["loops"], steps,
            {k: [list(x) for x in v] for k, v in run.metrics.items() if k.startswith("lr")},
        )  # fmt: skip

    ours = facts("native")
    assert ours[:2] == (17, [5, 10, 15])
    assert ours[2] == [f"step={n}.ckpt" for n in (12, 16, 4, 8)]
    assert ours == facts("reference")


def test_epochs_without_anyone_looking_are_few_calls(trained):
    class Count(Callback):
        patient, calls = True, 0

        def on_train_batch_end(self, *_):
            Count.calls += 1

    import test_native_steps

    test_native_steps.Count = Count
    run = trained("sine", "+callbacks.c._target_=test_native_steps.Count", "data.n_points=2000", name="a")
    assert run.results["steps"] > 160 and Count.calls < 40


def test_a_lost_loss_stops_at_the_same_step(trained):
    with pytest.raises(Diverged) as many:
        trained("sine", "optimizer.lr=1e30", name="a")
    with pytest.raises(Diverged) as single:
        trained("sine", "optimizer.lr=1e30", "trainer.steps_per_call=1", name="b")
    assert str(many.value) == str(single.value)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("trainer.accumulate_grad_batches=2", "do not accumulate"),
        ("optimizer._target_=torch.optim.NAdam", "no NAdam"),
        ("model.engine=auto model.cell=test_native_steps.Own", None),
    ],
)
def test_what_the_kernels_do_not_take_is_run_in_python_and_said(trained, override, reason, capsys):
    run = trained("sine", *override.split(), name="a")
    said = capsys.readouterr().out
    if reason is None:
        assert run.record["engine"]["name"] == "reference"
    else:
        assert reason in run.record["engine"]["steps"] and reason in " ".join(said.split())
    assert run.status == "finished"


class Own(__import__("rnnlab").Cell):
    def step(self, u, state):
        assert u.isfinite().all()  # a decision that depends on data, which no kernel can make
        h = torch.tanh(u + self.recur(state[0]))
        return h, (h,)
