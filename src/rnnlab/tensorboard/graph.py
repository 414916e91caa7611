"""The model as TensorBoard's Graphs tab draws it: from its structure, one node a quantity of the equations.

A trace would show the operations of one engine, for every time step or in one fused block, and costs more than a
small run trains. Here a layer's recurrence is what it is on paper: an edge from the new state back to the old.
"""

from functools import cache
from typing import Any, NamedTuple

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef

from rnnlab.tasks.task import Task
from rnnlab.tensorboard.events import framed_alone

Shape = tuple[int, ...]  # -1: any
Parameters = tuple[tuple[str, Shape], ...]
ANY = -1

# of the cells here: {gate: what squeezes it}, and {state: what its new value is made of}; c' is the new c
EQUATIONS: dict[str, tuple[dict[str, str], dict[str, tuple[str, ...]]]] = {
    "Elman": ({}, {"h": ()}),
    "GRU": ({"r": "Sigmoid", "z": "Sigmoid", "n": "Tanh"}, {"h": ("z", "n", "h")}),
    "LSTM": (
        {"i": "Sigmoid", "f": "Sigmoid", "g": "Tanh", "o": "Sigmoid"},
        {"c": ("f", "c", "i", "g"), "h": ("o", "c'")},
    ),
}
ALSO_SEES = {("GRU", "n"): ("r",)}  # a gate that is not of project and recur alone


class Architecture(NamedTuple):
    """All of a model that its picture shows."""

    cell: str
    squeeze: str  # of an Elman cell
    states: int
    layers: tuple[Parameters, ...]  # as `Stack.layers` has them
    directions: int
    hidden_size: int
    dropout: float
    input: Shape  # of one sequence (T, I), or (T,) of indices
    embedding: Shape | None
    head: Parameters
    every_step: bool  # else the head sees the last output alone
    difference: bool  # the last value is taken off, and added again
    target: Shape
    loss: str


def graph_record(task: Any) -> bytes | None:
    """An event file's record with a task's graph; None for a model that is not one of ours."""
    return _record(architecture(task)) if isinstance(task, Task) and hasattr(task, "head") else None


def architecture(task: Any) -> Architecture:
    stack, spec = task.stack, task.spec
    embedding = getattr(task, "embedding", None)
    text = task.kind == "text"
    length = int(spec.get("window", ANY))
    losses = {"text": "cross_entropy", "labelled": "cross_entropy"}
    return Architecture(
        cell=stack.kind.__name__,
        squeeze=str(getattr(stack.layers[0], "nonlinearity", "tanh")),
        states=stack.kind.states,
        layers=tuple(_parameters(cell) for cell in stack.layers),
        directions=stack.directions,
        hidden_size=stack.hidden_size,
        dropout=stack.dropout if stack.num_layers > 1 else 0.0,
        input=(length, spec["inputs"]) if task.kind == "series" else (length,),
        embedding=None if embedding is None else tuple(embedding.weight.shape),
        head=_parameters(task.head),
        every_step=text,
        difference=bool(getattr(task, "subtract_last", False)),
        target=(spec["horizon"], spec["targets"]) if task.kind == "series" else (length,) if text else (),
        loss=losses.get(task.kind) or str(getattr(task, "loss_name", "loss")),
    )


def _parameters(module: Any) -> Parameters:
    return tuple((name, tuple(p.shape)) for name, p in module.named_parameters())


@cache
def _record(model: Architecture) -> bytes:
    # the same bytes for every run of an architecture, without a time of its own
    event = Event(wall_time=1.0, graph_def=_Drawing(model).graph.SerializeToString())
    return framed_alone(event.SerializeToString())


class _Drawing:
    def __init__(self, model: Architecture) -> None:
        self.model, self.graph = model, GraphDef()
        x, size = self.node("input", "Placeholder", (), (ANY, *model.input)), model.input[-1]
        first = x
        if model.embedding is not None:
            table = self.node("embedding/weight", "Parameter", (), model.embedding)
            size = model.embedding[1]
            x = self.node("embedding/row", "Embedding", (x, table), (ANY, model.input[0], size))
        if model.difference:
            x = self.node("subtract_last", "Sub", (x,), (ANY, *model.input))
        count = len(model.layers) // model.directions
        for layer in range(count):
            x = self.layer(layer, x)
            if model.dropout and layer < count - 1:
                x = self.node(f"dropout_{layer}", "Dropout", (x,), self.shape(model.directions))
        width = (ANY, model.directions * model.hidden_size)
        if not model.every_step:
            x = self.node("last_output", "Last", (x,), width)
        rows = model.head[0][1][0]
        weights = [self.node(f"head/{name}", "Parameter", (), shape) for name, shape in model.head]
        y = (ANY, model.input[0], rows) if model.every_step else (ANY, rows)
        x = self.node("head/linear", "Linear", (x, *weights), y)
        if model.difference:
            x = self.node("add_last", "Add", (x, first), y)
        target = self.node("target", "Placeholder", (), (ANY, *model.target))
        self.node("loss", model.loss, (x, target), ())

    def shape(self, blocks: int) -> Shape:
        return ANY, self.model.input[0], blocks * self.model.hidden_size

    def layer(self, layer: int, x: str) -> str:
        ways = ("forward", "backward")[: self.model.directions]
        if len(ways) == 1:
            return self.cell(f"layer_{layer}", self.model.layers[layer], x)
        outputs = [
            self.cell(f"layer_{layer}/{way}", self.model.layers[2 * layer + i], x)
            for i, way in enumerate(ways)
        ]
        return self.node(f"layer_{layer}/concat", "Concat", outputs, self.shape(2))

    def cell(self, at: str, parameters: Parameters, x: str) -> str:
        """The nodes of one cell; the name of its output."""
        model, hidden = self.model, (ANY, self.model.hidden_size)
        gates, states = EQUATIONS.get(model.cell, ({}, {"h": ()}))
        parts = {name: f"{at}/{name}" for name in (*gates, *states)}
        parts |= {f"{state}'": f"{at}/new_{state}" for state in states}
        # the old states stand first, h before c: so the edges that run back are those from the new states
        initial = [f"{at}/initial"] if "initial" in dict(parameters) else []
        for state in reversed(states):
            self.node(parts[state], "OneStepLater", [parts[f"{state}'"], *initial], hidden)
        nodes = {name: self.node(f"{at}/{name}", "Parameter", (), shape) for name, shape in parameters}
        rows = dict(parameters).get("weight_hh", hidden)[0]
        of_input = [nodes.pop(n) for n in ("weight_ih", "bias_ih") if n in nodes]
        of_state = [nodes.pop(n) for n in ("weight_hh", "bias_hh") if n in nodes]
        project = self.node(f"{at}/project", "Linear", (x, *of_input), (ANY, model.input[0], rows))
        both = project, self.node(f"{at}/recur", "Linear", (parts["h"], *of_state), (ANY, rows))
        for gate, squeeze in gates.items():
            more = [parts[g] for g in ALSO_SEES.get((model.cell, gate), ())]
            self.node(parts[gate], squeeze, (*both, *more), hidden)
        op = {"Elman": model.squeeze.capitalize(), "GRU": "Interpolate"}.get(model.cell, model.cell)
        for state, made_of in states.items():
            inputs = [parts[name] for name in made_of] or [
                *both,
                *(n for n in nodes.values() if n not in initial),
            ]
            if model.cell not in EQUATIONS:  # what its step does with the old state is its own affair
                inputs.append(parts[state])
            self.node(parts[f"{state}'"], op, inputs, hidden)
        return self.node(f"{at}/output", "EveryStep", (parts["h'"],), self.shape(1))

    def node(self, name: str, op: str, inputs: Any, shape: Shape) -> str:
        node = self.graph.node.add(name=name, op=op, input=inputs)
        if shape or name == "loss":
            drawn = node.attr["_output_shapes"].list.shape.add()
            for size in shape:
                drawn.dim.add(size=size)
        return name
