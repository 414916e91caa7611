"""The picture of a model: its nodes are the model's own parameters and equations, and its edges lead all through."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef

from rnnlab import Cell
from rnnlab.cells import CATALOGUE, LSTM
from rnnlab.tasks.char_lm import CharLM
from rnnlab.tasks.classifier import Classifier
from rnnlab.tasks.forecaster import Forecaster
from rnnlab.tensorboard.graph import equations_of, graph_record

SERIES = {"kind": "series", "window": 20, "horizon": 2, "inputs": 3, "targets": 1, "target_index": [0],
          "target_scale": [1.0], "target_shift": [0.0], "input_names": list("abc"), "target_names": ["a"]}  # fmt: skip
TEXT = {"kind": "text", "vocabulary_size": 11}
LABELLED = {"kind": "labelled", "classes": 3, "vocab_size": 9}


def recurrence(**changes):
    return {"cell": "elman", "hidden_size": 5, "num_layers": 1, "engine": "reference"} | changes


def drawn(task):
    event = Event.FromString(graph_record(task)[12:-4])  # what is framed in the record
    return {node.name: node for node in GraphDef.FromString(event.graph_def).node}


def shape(node):
    return [d.size for d in node.attr["_output_shapes"].list.shape[0].dim]


class Plain(Cell):
    gates, states = 1, 1

    def __init__(self, *sizes, **common):
        super().__init__(*sizes, **common)
        self.leak = torch.nn.Parameter(torch.zeros(self.hidden_size))

    def step(self, u, state):
        h = self.leak * state[0] + torch.tanh(u + self.recur(state[0]))
        return h, (h,)


TASKS = {
    **{
        cell: lambda cell=cell: Forecaster(SERIES, **recurrence(cell=cell, num_layers=2))
        for cell in CATALOGUE
    },
    "learned": lambda: Forecaster(SERIES, **recurrence(initial_state="learned", nonlinearity="relu")),
    "gru": lambda: Forecaster(
        SERIES, subtract_last=True, **recurrence(cell="gru", num_layers=3, dropout=0.1)
    ),
    "lstm": lambda: CharLM(TEXT, **recurrence(cell="lstm", num_layers=2)),
    "embedded": lambda: CharLM(TEXT, embedding_size=4, **recurrence(bias="one")),
    "both ways": lambda: Classifier(LABELLED, **recurrence(cell="lstm", bidirectional=True, num_layers=2)),
    "own cell": lambda: Forecaster(SERIES, **recurrence(cell=Plain)),
}


@pytest.mark.parametrize("name", TASKS)
def test_every_parameter_is_a_node_of_its_shape_and_leads_to_the_loss(name):
    task = TASKS[name]()
    nodes = drawn(task)
    assert all(source in nodes for node in nodes.values() for source in node.input)
    found = {n: shape(node) for n, node in nodes.items() if node.op == "Parameter"}
    assert sorted(map(tuple, found.values())) == sorted(tuple(p.shape) for p in task.parameters())
    leads, grown = {"loss"}, True
    while grown:  # what the loss depends on
        more = {source for n in leads for source in nodes[n].input} - leads
        leads, grown = leads | more, bool(more)
    assert leads == nodes.keys()


def test_gates_and_states_of_an_lstm_are_its_equations():
    nodes = drawn(TASKS["lstm"]())
    for gate in "ifgo":
        assert list(nodes[f"layer_1/{gate}"].input) == ["layer_1/project", "layer_1/recur"]
    assert nodes["layer_1/g"].op == "Tanh" and nodes["layer_1/o"].op == "Sigmoid"
    assert set(nodes["layer_0/new_c"].input) == {f"layer_0/{n}" for n in ("f", "c", "i", "g")}
    assert set(nodes["layer_0/new_h"].input) == {"layer_0/o", "layer_0/new_c"}
    # the recurrence: the new state comes back one step later
    assert list(nodes["layer_0/h"].input) == ["layer_0/new_h"] and list(nodes["layer_0/c"].input) == [
        "layer_0/new_c"
    ]
    assert "layer_0/h" in nodes["layer_0/recur"].input


def test_the_equations_of_a_cell_may_be_indented():
    class Indented(LSTM):
        equations = "".join(f"\n        {line}" for line in LSTM.equations.splitlines()) + "\n    "

    found, wanted = (equations_of(cell(3, 4)) for cell in (Indented, LSTM))
    assert [(name, seen) for name, _, seen in found] == [(name, seen) for name, _, seen in wanted]


def test_shapes_are_those_of_the_tensors():
    nodes, task = drawn(TASKS["gru"]()), TASKS["gru"]().eval()
    y, _ = task.stack(torch.zeros(7, 20, 3))
    assert [7, *shape(nodes["layer_2/output"])[1:]] == list(y.shape)
    assert shape(nodes["layer_0/project"]) == [
        -1,
        *task.stack.layers[0].project(torch.zeros(7, 20, 3)).shape[1:],
    ]
    assert shape(nodes["input"]) == [-1, 20, 3] and shape(nodes["target"]) == [-1, 2, 1]
    assert {"dropout_0", "dropout_1"} <= nodes.keys() and "dropout_2" not in nodes


def test_the_nodes_of_a_single_layer_stand_in_no_box_and_keep_their_edges():
    nodes = drawn(TASKS["learned"]())
    assert not any("/" in name for name in nodes) and list(nodes["h"].input) == ["new_h", "initial"]
    assert {"project", "recur", "weight_hh", "head", "head_weight", "input", "loss"} <= nodes.keys()
    assert any("/" in name for name in drawn(TASKS["lstm"]()))


def test_a_model_that_is_no_stack_is_not_drawn():
    assert graph_record(torch.nn.Linear(1, 1)) is None


def test_a_run_has_its_graph(small):
    events = EventAccumulator(str(small().folder))
    events.Reload()
    assert "recur" in [node.name for node in events.Graph().node]
