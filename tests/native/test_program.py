"""Runs: dropout's masks, the carry, where they stop, and what they refuse."""

import math
import os
import threading

import pytest
import torch
from programs import Case, relative_error

from rnnlab import native, streams
from rnnlab.errors import UserError
from rnnlab.native.scoring import Scale
from rnnlab.native.spec import obstacle
from rnnlab.recurrence import Stack


@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_masks_are_the_streams(bidirectional):
    """With relu, all weights zero and all biases one, the second layer sees the mask alone."""
    case = Case(
        "series", 37, 5, cell="elman", nonlinearity="relu", hidden_size=7, num_layers=2, dropout=0.3,
        bidirectional=bidirectional, bias="one",
    )  # fmt: skip
    program = case.program()
    first = program.task.stack.layers[: program.task.stack.directions]
    second = program.task.stack.layers[program.task.stack.directions]
    with torch.no_grad():
        for parameter in program.task.parameters():
            parameter.zero_()
        for cell in first:
            cell.bias_ih.fill_(1)
        second.bias_ih.fill_(1)
        program.task.head.weight[:, 0] = 1
    program.gradients(case.names(1)[0], dropout_step=11)
    # second.weight_ih's gradient sums (gradient of the unit) x (mask) over rows and steps
    width = 7 * len(first)
    mask = torch.from_numpy(streams.keep_mask(0, 0.3, (37, 5, width), 11, 0)).double()
    y = torch.stack([case.series[s + 5 : s + 6, 0] for s in case.names(1)[0]]).double()[:, 0]
    d = 2 * (1 - y) / 37
    assert torch.allclose(second.weight_ih.grad[0].double(), d @ mask[:, 4], atol=1e-6)


def test_carry_goes_from_segment_to_segment_and_starts_anew():
    case = Case("text", 6, 7, cell="lstm", hidden_size=9, num_layers=2, initial_state="learned")
    task, program = case.task().double(), case.program()
    for name in [0, 1, 2, 0, 1]:
        task.zero_grad()
        loss = task.loss(case.batch_of(name, torch.float64))
        loss.backward()
        assert program.gradients(name) == pytest.approx(float(loss.detach()), rel=1e-6)
        parameters = dict(program.task.named_parameters())
        trained = [(n, p) for n, p in task.named_parameters() if p.grad is not None]
        found = [parameters[n].grad for n, _ in trained]
        assert relative_error(found, [p.grad for _, p in trained]) < 1e-5
        for cell, state in enumerate(task.carry.state):
            for i, tensor in enumerate(state):
                assert torch.allclose(program.carry[cell, i].double(), tensor, atol=1e-5)


def test_a_learned_state_rests_while_the_state_is_carried():
    case = Case("text", 6, 7, cell="gru", hidden_size=9, initial_state="learned")
    program = case.program()
    initial = program.task.stack.layers[0].initial
    program.run([0], [0.01])
    after_first = initial.detach().clone()
    program.run([1, 2], [0.01, 0.01])
    assert torch.equal(initial, after_first)
    program.run([0], [0.01])
    assert not torch.equal(initial, after_first)
    assert float(program.optimizer.state[initial]["step"]) == 2
    assert float(program.optimizer.state[program.task.head.weight]["step"]) == 4


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_run_stops_before_the_update_of_a_loss_that_is_not_finite(poison):
    case = Case("series", 8, 5, cell="gru", hidden_size=10)
    case.series[40:46] = poison
    program, twin = case.program(), case.program()
    good, bad = torch.arange(8), torch.arange(34, 42)
    did = program.run([good, good, good, bad, good], [0.01] * 5)
    twin.run([good] * 3, [0.01] * 3)
    assert did.done == 3
    assert did.losses.isfinite().tolist() == [True, True, True, False, False]
    assert did.norms.isfinite().tolist() == [True, True, True, False, False]
    assert torch.equal(program.flat.parameters, twin.flat.parameters)


def test_a_row_of_nan_does_not_reach_its_neighbours():
    for cell in ("elman", "gru", "lstm"):
        stack = Stack(cell, 3, 21, 2, engine="native")
        x = torch.randn(40, 6, 3, generator=torch.Generator().manual_seed(0))
        clean, _ = stack(x)
        x[17, 2] = math.nan
        spoilt, _ = stack(x)
        others = torch.arange(40) != 17
        assert torch.equal(clean[others], spoilt[others])
        assert spoilt[17, 2:].isnan().all()
        assert torch.equal(clean[17, :2], spoilt[17, :2])


def test_pairs_are_windows():
    case = Case(
        "series", 33, 9, cell="lstm", hidden_size=10, inputs=2, targets=2, horizon=3, subtract_last=True
    )
    program = case.program()
    name = case.names(1)[0]
    loss = program.gradients(name)
    gradients = program.flat.gradients.clone()
    pairs = native.Pairs(*case.batch_of(name, torch.float32))
    assert program.gradients(torch.arange(33), source=pairs) == loss
    assert torch.equal(program.flat.gradients, gradients)


def test_batches_of_any_size_up_to_rows_train_and_larger_ones_are_evaluated():
    case = Case("series", 37, 4, cell="lstm", hidden_size=6)
    program = case.program()
    for rows in (37, 31, 32, 15, 1):
        name = torch.arange(rows)
        program.gradients(name)
        task = case.task().double()
        task.loss(case.batch_of(name, torch.float64)).backward()
        truth = [p.grad for p in task.parameters()]
        assert relative_error([p.grad for p in program.task.parameters()], truth) < 1e-5
    many = torch.arange(60).repeat(40)
    loss, outputs = program.evaluate(many, outputs=True)
    assert outputs.shape == (2400, 1, 1)
    assert torch.equal(outputs[:60], outputs[-60:])
    assert loss == pytest.approx(program.evaluate(torch.arange(60))[0], rel=1e-6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    case = Case("series", 64, 4, cell="gru", hidden_size=6)
    names = case.names(4)
    truth = case.program(threads=2).run(names, [0.01] * 4).losses
    child = os.fork()
    if child == 0:
        same = torch.equal(case.program(threads=2).run(names, [0.01] * 4).losses, truth)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_is_forked_during_a_call_does_none_of_its_items():
    case = Case("series", 128, 40, cell="gru", hidden_size=64)
    busy, ours, name = case.program(threads=2), case.program(threads=8), case.names(1)[0]
    truth, over = case.program(threads=1).gradients(name), threading.Event()

    def train():
        while not over.is_set():
            busy.gradients(name)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(120):
            child = os.fork()
            if child == 0:
                os._exit(0 if ours.gradients(name) == truth else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        thread.join()


EDITS = {"tokens": ("x", 13), "labels": ("y", 2), "lengths": ("lengths", 0)}


@pytest.mark.parametrize("what", EDITS)
def test_data_edited_in_place_is_refused_where_its_numbers_are_out_of_range(what):
    case = Case("labelled", 40, 6, cell="gru", hidden_size=5, bidirectional=True)
    program, names = case.program(threads=2), [torch.arange(40)] * 3
    part = program.part(names, case.source, Scale())
    before = program.flat.parameters.clone()
    name, wrong = EDITS[what]
    edited = getattr(case, name)
    right, edited.view(-1)[35] = int(edited.view(-1)[35]), wrong
    calls = (
        lambda: program.run(names, [0.01] * 3),
        lambda: program.gradients(names[0]),
        lambda: program.evaluate(names[0]),
        lambda: program.score(part),
    )
    for call in calls:
        with pytest.raises(UserError, match=f"edited during the training.*{what}"):
            call()
    assert torch.equal(program.flat.parameters, before)
    edited.view(-1)[35] = right
    assert program.run(names, [0.01] * 3).done == 3
    assert program.evaluate(names[0])[0] == program.evaluate(names[0])[0]


@pytest.mark.parametrize("shift", [0, 1])
def test_characters_edited_in_place_are_refused_where_the_model_has_no_such_character(shift):
    case = Case("text", 6, 7, cell="gru", hidden_size=9)
    program = case.program()
    program.run([0], [0.01])
    case.rows[2, 7 * 12 * shift] = -1  # the first is a token alone, the last a label alone
    with pytest.raises(UserError, match=f"the {['tokens', 'labels'][shift]} are -1 to 10"):
        program.run([*range(12)], [0.01] * 12)


def test_what_cannot_run_says_why():
    case = Case("series", 8, 5, cell="gru", hidden_size=10)
    task = case.task("auto")
    assert obstacle(task.outline(), torch.optim.Adam(task.parameters())) is None
    assert "amsgrad" in obstacle(task.outline(), torch.optim.Adam(task.parameters(), amsgrad=True))
    assert "Adagrad" in obstacle(task.outline(), torch.optim.Adagrad(task.parameters()))
    groups = [{"params": [p]} for p in task.parameters()]
    assert "groups" in obstacle(task.outline(), torch.optim.SGD(groups, lr=0.1))
    assert "float64" in obstacle(case.task().double().outline())


def refused(call, *arguments, match: str, **options) -> None:
    with pytest.raises(ValueError, match=match):
        call(*arguments, **options)


def test_hostile_arguments_are_refused_before_a_pointer_is_passed():
    case = Case("series", 8, 5, cell="gru", hidden_size=10)
    program, good = case.program(), torch.arange(8)
    refused(program.gradients, torch.tensor([0, 61]), match="between 0 and 60")
    refused(program.gradients, torch.tensor([-1]), match="between 0 and 60")
    refused(program.gradients, good.int(), match="int64")
    refused(program.gradients, torch.arange(9), match="at most 8")
    refused(program.gradients, torch.empty(0, dtype=torch.int64), match="must be")
    refused(program.run, [good], [0.1, 0.1], match="learning rates")
    refused(native.Windows, case.series.double(), 1, 5, 1, [0], match="float32")
    refused(native.Windows, case.series.T, 1, 5, 1, [0], match="columns|strides|rows")
    refused(native.Windows, case.series, 1, 5, 1, [1], match="columns")
    refused(native.Windows, case.series, 2, 5, 1, [0], match="inputs")
    refused(native.Windows, case.series, 1, 66, 1, [0], match="rows")
    long = native.Windows(case.series, 1, 6, 1, [0])
    refused(program.gradients, good, source=long, match="steps")
    rows = torch.zeros(3, 9, dtype=torch.int64)
    refused(program.gradients, 0, source=native.Characters(rows, rows, 3), match="source")
    refused(
        native.Sequences, rows, torch.tensor([1, 2, 10]), torch.zeros(3, dtype=torch.int64), match="lengths"
    )
    refused(
        native.Sequences, rows, torch.tensor([1, 0, 9]), torch.zeros(3, dtype=torch.int64), match="lengths"
    )
    text = Case("text", 3, 4, cell="gru", hidden_size=5)
    spoken = text.program()
    refused(spoken.gradients, 12, match="segments")
    refused(spoken.gradients, -1, match="segments")
    refused(spoken.gradients, 0, source=native.Characters(rows + 11, rows, 3), match="tokens")
    refused(spoken.gradients, 0, source=native.Characters(rows, rows - 1, 3), match="labels")
    refused(spoken.evaluate, 1, match="segment 0")
    program.task.head.weight.data = program.task.head.weight.data.clone()
    refused(program.gradients, good, match="moved out")


def test_recurrence_refuses_what_does_not_fit():
    cell = Stack("gru", 3, 4, engine="native").layers[0]
    x, state = torch.zeros(2, 5, 3), (torch.zeros(2, 4),)
    refused(native.recurrence, cell, x.double(), state, match="float32")
    refused(native.recurrence, cell, torch.zeros(2, 5, 4), state, match=r"\(2, 5, 3\)")
    refused(native.recurrence, cell, torch.zeros(0, 5, 3), state, match="at least one")
    refused(native.recurrence, cell, torch.full((2, 5), 3), state, match="between 0 and 2")
    refused(native.recurrence, cell, x, (torch.zeros(3, 4),), match="state")
    refused(native.recurrence, cell, x, (), match="state")
    refused(native.recurrence, cell, x, state, torch.zeros(2, 5), match="reset")
