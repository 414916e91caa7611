"""What the text instrument says of a passage, against torch's own layers in float64."""

import re

import numpy as np
import pytest
import torch

from rnnlab.data import Chars
from rnnlab.instruments.probe import looking, probe
from rnnlab.instruments.writing import CANDIDATES, LENGTH, TEMPERATURES, TRAIL, WIDTH, Writing, shown
from rnnlab.tasks import CharLM

TEXT = "the $quick$ brown fox\tjumps over the lazy dog_\n"
OWN = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(TEXT[i % 7 :] for i in range(400)))
    found = Chars(path=str(path), segment=20, batch_size=4)
    found.setup()
    return found


def look(data, cell="gru", **about):
    task = CharLM(data.spec, cell=cell, hidden_size=12, engine="torch", **about)
    instrument = Writing()
    instrument.step = 1234
    with looking(task):
        numbers = instrument.look(task, probe(task, data), data)
    return task, instrument, numbers


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_the_passage_by_torchs_own_layers(data, cell):
    task, instrument, numbers = look(data, cell)
    ids = data.rows("val")[0][: len(instrument.ids)]
    size = task.head.out_features
    own = OWN[cell](size, 12, batch_first=True).double()
    own.load_state_dict({f"{name}_l0": p for name, p in task.stack.layers[0].named_parameters()})
    with torch.no_grad():
        h = own(torch.eye(size, dtype=torch.float64)[ids[None, :-1]])[0][0]
        logits = h @ task.head.weight.double().T + task.head.bias.double()
    p = torch.softmax(logits, -1).numpy()
    losses = -np.log(p[np.arange(len(p)), ids[1:].numpy()])
    np.testing.assert_allclose(instrument.losses, losses, rtol=1e-4)
    assert numbers["passage_nats"] == pytest.approx(losses.mean(), rel=1e-5)


def test_the_figure_shows_the_passage_and_the_likeliest_in_percent(data):
    task, instrument, numbers = look(data)
    with looking(task):
        figure = instrument.draw(task, data)
    above, below = figure.axes
    text = "".join(t.get_text() for t in above.texts).replace("\\$", "$")
    read = [shown(instrument.vocabulary, int(i)) for i in instrument.ids[1:]]
    assert text == "".join(read) and len(read) == len(instrument.losses)
    assert [t.get_position()[0] // 1 for t in above.texts[: WIDTH + 1]] == [*range(WIDTH), 0]
    # the redder, the greater the loss
    red = [patch.get_facecolor()[1] for patch in above.patches]
    order = np.argsort(instrument.losses)
    assert (np.diff(np.array(red)[order]) <= 1e-9).all()
    said = [t.get_text() for t in below.texts]
    assert len(said) == TRAIL * (1 + 2 * CANDIDATES)
    logits, _ = task(instrument.ids[None, :-1])
    top = torch.softmax(logits[0, -1].double(), -1).sort(descending=True)
    last = said[-2 * CANDIDATES :]
    assert last[1::2] == [f"{100 * p:.0f}" for p in top.values[:CANDIDATES].tolist()]
    likeliest = [shown(instrument.vocabulary, int(i)) for i in top.indices[:CANDIDATES]]
    assert [c.replace("\\$", "$") for c in last[::2]] == likeliest
    heads = [t.get_text() for t in (figure._suptitle, *figure.texts)]
    assert f"{numbers['passage_nats']:.3g} nats per character" in heads and "weights of step 1,234" in heads


def test_samples_at_several_temperatures(data):
    task, instrument, _ = look(data)
    with looking(task):
        said = instrument.say(task, data)
        assert said == instrument.say(task, data)
    parts = re.split(r"--- temperature ([\d.]+)\n", said)
    assert [float(t) for t in parts[1::2]] == list(TEMPERATURES)
    # each is the task's own, and the colder one keeps to likelier characters
    for temperature, text in zip(parts[1::2], parts[2::2], strict=True):
        drawn = list(task.sample(instrument.ids[:20], LENGTH, temperature=float(temperature), seed=0))
        assert text == instrument.vocabulary.decode(drawn) + "\n"


def test_of_other_tasks_there_is_nothing_to_say(data):
    from rnnlab.data import Sine
    from rnnlab.tasks import Forecaster

    series = Sine(n_points=200)
    series.setup()
    assert Writing().look(Forecaster(series.spec, cell="gru", hidden_size=2), None, series) == {}
