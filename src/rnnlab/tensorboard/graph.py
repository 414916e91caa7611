"""Draws the model for TensorBoard's Graphs tab, from its structure: one node for each quantity of the equations.

A trace would show the operations of one engine, for every time step or in one fused block, and would take longer than a
small run. Here a layer's recurrence is an edge from the new state back to the old one, as on paper.
"""

import re
from functools import cache
from typing import Any, NamedTuple

from lightning.pytorch import LightningModule
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from rnnlab.tasks.task import Task
from rnnlab.tensorboard.events import record

Shape = tuple[int, ...]  # -1: any
Parameters = tuple[tuple[str, Shape], ...]
ANY = -1

# (quantity, operation, gates and states in its equation), in order; c' is the new c
Equations = tuple[tuple[str, str, tuple[str, ...]], ...]


class Architecture(NamedTuple):
    """What the picture shows of a model."""

    equations: Equations
    states: tuple[str, ...]
    layers: tuple[Parameters, ...]  # as in `Stack.layers`
    directions: int
    hidden_size: int
    dropout: float
    input: Shape  # of one sequence (T, I), or (T,) of indices
    embedding: Shape | None
    head: Parameters
    every_step: bool  # the head reads every step; else only the last
    difference: bool  # the last value is subtracted from the input, and added to the output
    target: Shape
    loss: str


def graph_record(task: LightningModule) -> bytes | None:
    """An event file's record with a task's graph; None for models outside rnnlab."""
    found = architecture(task) if isinstance(task, Task) else None
    return None if found is None else _record(found)


def architecture(task: Task) -> Architecture | None:
    model = task.outline()
    if model is None:
        return None
    if (
        not isinstance(model.head, nn.Linear)
        or len(set(map(type_before_parametrizations, model.stack.layers))) > 1
    ):
        return None  # layers were replaced
    stack, embedding, length = model.stack, model.embedding, int(task.spec.get("window", ANY))
    return Architecture(
        equations=equations_of(stack.layers[0]),
        states=stack.kind.named_states or ("h",),
        layers=tuple(_parameters(cell) for cell in stack.layers),
        directions=stack.directions,
        hidden_size=stack.hidden_size,
        dropout=stack.dropout if stack.num_layers > 1 else 0.0,
        input=(length,) if model.indices else (length, stack.input_size),
        embedding=None if embedding is None else tuple(embedding.weight.shape),
        head=_parameters(model.head),
        every_step=model.reads == "every",
        difference=model.subtracted is not None,
        target=model.target,
        loss=model.loss,
    )


def equations_of(cell: Any) -> Equations:
    """The quantities of a cell's equations: each gate with its activation, each new state with its inputs.

    A cell that does not name its gates is a single quantity.
    """
    gates = {gate.symbol: gate.squeeze.capitalize() for gate in cell.named_gates}
    if not gates:
        return (("h'", type(cell).__name__, ("h",)),)
    lines = [line.strip() for line in cell.equations.splitlines() if line.strip()]  # they may be indented
    made = [line.partition(" = ")[0] for line in lines]
    symbols = {*gates, *made, *cell.named_states, *(f"{state}'" for state in cell.named_states)}
    found = []
    for line in lines:
        name, _, right = line.partition(" = ")
        # without the products with weights, which are separate nodes, and without names of functions
        terms = re.sub(r"\b(W_\w+ [xh]\b|b_\w+|\w+(?=\())", "", right)
        seen = tuple(dict.fromkeys(word for word in re.findall(r"\w+'?", terms) if word in symbols))
        operation = gates.get(name.rstrip("'"), type(cell).__name__)
        found.append((name, operation, (*(("project", "recur") if "W_" in right else ()), *seen)))
    return tuple(found)


def _parameters(module: Any) -> Parameters:
    return tuple((name, tuple(p.shape)) for name, p in module.named_parameters())


@cache
def _record(model: Architecture) -> bytes:
    # a fixed time, so that all runs of an architecture have the same bytes
    event = Event(wall_time=1.0, graph_def=_Drawing(model).graph.SerializeToString())
    return record(event.SerializeToString())


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
        if len(model.layers) == 1:
            self._flatten()

    def _flatten(self) -> None:
        """Removes the boxes: the nodes of a single layer fit the page, where closed boxes would hide them."""
        short: dict[str, str] = {}
        for node in self.graph.node:
            plain = node.name.removeprefix("layer_0/").removesuffix("/linear").replace("/", "_")
            short[node.name] = plain if plain not in short.values() else node.name.replace("/", "_")
        for node in self.graph.node:
            node.name = short[node.name]
            node.input[:] = [short[name] for name in node.input]

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
        """Adds the nodes of one cell; returns the name of its output."""
        model, hidden = self.model, (ANY, self.model.hidden_size)
        parts = {state: f"{at}/{state}" for state in model.states}
        for name, _, _ in model.equations:
            parts[name] = f"{at}/new_{name[:-1]}" if name.endswith("'") else f"{at}/{name}"
        # old states come first, h before c, so that the backward edges are those from the new states
        initial = [f"{at}/initial"] if "initial" in dict(parameters) else []
        for state in model.states:
            new = parts.get(f"{state}'")
            self.node(parts[state], "OneStepLater", [*([new] if new else ()), *initial], hidden)
        nodes = {name: self.node(f"{at}/{name}", "Parameter", (), shape) for name, shape in parameters}
        rows = dict(parameters).get("weight_hh", hidden)[0]
        width = dict(parameters).get("weight_ih", (rows,))[0]
        of_input = [nodes.pop(n) for n in ("weight_ih", "bias_ih") if n in nodes]
        of_state = [nodes.pop(n) for n in ("weight_hh", "bias_hh") if n in nodes]
        parts["project"] = self.node(f"{at}/project", "Linear", (x, *of_input), (ANY, model.input[0], width))
        if of_state:  # else there is no product with the state
            old = parts[model.states[0]]
            parts["recur"] = self.node(f"{at}/recur", "Linear", (old, *of_state), (ANY, rows))
        own = [node for node in nodes.values() if node not in initial]  # parameters without an equation
        for name, operation, seen in model.equations:
            if len(model.equations) == 1:  # the cell's single equation uses them all
                seen = ("project", "recur", *(part for part in seen if part not in ("project", "recur")))
            inputs = [
                *(parts[part] for part in seen if part in parts),
                *(own if name == model.equations[-1][0] else ()),
            ]
            self.node(parts[name], operation, inputs, hidden)
        return self.node(f"{at}/output", "EveryStep", (parts[model.equations[-1][0]],), self.shape(1))

    def node(self, name: str, op: str, inputs: Any, shape: Shape) -> str:
        node = self.graph.node.add(name=name, op=op, input=inputs)
        if shape or op == "Parameter" or name == "loss":
            drawn = node.attr["_output_shapes"].list.shape.add()
            for size in shape:
                drawn.dim.add(size=size)
        return name
