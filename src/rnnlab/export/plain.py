"""Exports a model as readable code that needs only torch: model.py, with weights.pt.

Its layers are torch's own if they have the cell's equations; if not, the equations are written out.
"""

import copy
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnnlab.errors import UserError
from rnnlab.export import equations
from rnnlab.export.onnx import TOLERANCE, apart, longer_inputs
from rnnlab.export.portable import Portable
from rnnlab.import_path import is_here
from rnnlab.native.symbols import Untraceable
from rnnlab.native.tracing import trace
from rnnlab.recurrence.conversion import to_torch
from rnnlab.recurrence.stack import Stack
from rnnlab.tasks import Forecaster
from rnnlab.terminal.screen import one_line

HEAD = '''"""{what}, in torch alone. `load()` reads the weights that lie beside this file."""

from pathlib import Path

import torch
from torch import nn{functional}


{layers}class Model(nn.Module):
    """{words}"""

    def __init__(self):
        super().__init__()
{parts}

{forward}


def load(weights=Path(__file__).with_name("weights.pt")):
    model = Model()
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model.eval()
'''
SERIES = """    def forward(self, x):
        x = (x - self.input_shift) / self.input_scale
{before}        y, _ = self.rnn(x{start})
        y = self.head(y[:, -1]).view(-1, {horizon}, {targets})  # from the output at the window's end
        return {after} * self.target_scale + self.target_shift"""
TEXT = """    def forward(self, tokens, {states}):
        y, {last} = self.rnn({embedded}, {given})
        return self.head(y), {states}"""
LABELLED = """    def forward(self, tokens, lengths):
        x = pack_padded_sequence(self.embedding(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, _ = self.rnn(x{start})
        y, _ = pad_packed_sequence(y, batch_first=True)
        last = y[torch.arange(len(y)), lengths - 1, :{hidden}]{and_first}
        return self.head(last){squeezed}"""
OWN_LABELLED = """    def forward(self, tokens, lengths):
        y, _ = self.rnn(self.embedding(tokens){lengths})
        last = y[torch.arange(len(y)), lengths - 1, :{hidden}]{and_first}
        return self.head(last){squeezed}"""
BUFFER = '        self.register_buffer("{name}", torch.zeros({size}))'


def obstacle(task: Any) -> str:
    """The reason why no code can be written; "" if it can."""
    if isinstance(task, Forecaster) and (task.spec.get("log") or task.per_window or task.distribution):
        return "its forecasts are of logarithms, of windows in their own scale or of distributions"
    cell = task.stack.layers[0]
    if cell.torch_layer and not cell.zoneout and task.stack.uniform:
        return ""
    try:
        for layer in task.stack.cells:
            trace(layer)
    except Untraceable as error:
        return f"torch.nn has no layer of the equations of {type(cell).__name__}, and {error}"
    return ""


def write(model: Portable, task: Any, folder: Path, what: str) -> str:
    """Writes model.py and weights.pt, and checks them in a process of their own; returns a text on the check.

    Raises UserError where their numbers differ from the run's.
    """
    text, weights = code(model, task, what)
    (folder / "model.py").write_text(text, encoding="utf-8")
    torch.save(weights, folder / "weights.pt")
    return check(model, folder)


def code(model: Portable, task: Any, what: str) -> tuple[str, dict[str, Tensor]]:
    """The text of model.py, and its weights."""
    stack: Stack = task.stack
    own = not stack.cells[0].torch_layer or bool(stack.cells[0].zoneout) or not stack.uniform
    layers, parts, weights = "", ["        self.rnn = Layers()"], dict[str, Tensor]()
    if own:
        layers, weights = equations.code(stack)
        weights = {f"rnn.{name}": value for name, value in weights.items()}
    else:
        parts, weights = torchs_layer(stack)
    parts += [f"        self.head = nn.Linear({task.head.in_features}, {task.head.out_features})"]
    weights |= {f"head.{name}": value for name, value in task.head.state_dict().items()}
    embedding = getattr(task, "embedding", None)
    if embedding is not None:
        parts.insert(0, f"        self.embedding = nn.Embedding{tuple(embedding.weight.shape)}")
        weights["embedding.weight"] = embedding.weight.data

    start, functional = "", ""
    is_text = "x" not in model.inputs and "lengths" not in model.inputs  # its initial state is an input
    first: Any = stack.layers[0]
    if first.initial is not None and not is_text and not own:
        names = [f"start_{i}" for i in range(first.states)]
        for name, first_states in zip(names, zip(*stack.start(1), strict=True), strict=True):
            weights[name] = torch.stack(first_states).detach()  # (layers, 1, H)
            parts.append(BUFFER.format(name=name, size=", ".join(map(str, weights[name].shape))))
        rows = "lengths" if "lengths" in model.inputs else "x"
        given = ", ".join(f"self.{name}.expand(-1, len({rows}), -1).contiguous()" for name in names)
        start = f", ({given})" if len(names) > 1 else f", {given}"

    if "x" in model.inputs:
        series = {"input_shift": task.spec["input_shift"], "input_scale": task.spec["input_scale"]}
        series |= {"target_shift": task.spec["target_shift"], "target_scale": task.spec["target_scale"]}
        for name, values in series.items():
            weights[name] = torch.tensor(values)
            parts.append(BUFFER.format(name=name, size=len(values)))
        subtracted = f"last[..., {task.target_index.tolist()}]"
        forward = SERIES.format(
            before="        last = x[:, -1:]\n        x = x - last\n" if task.subtract_last else "",
            start=start,
            horizon=task.horizon,
            targets=task.targets,
            after=f"(y + {subtracted})" if task.subtract_last else "y",
        )
    elif "lengths" in model.inputs:
        hidden = stack.hidden_size
        if not own:
            functional = "\nfrom torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence"
        forward = (OWN_LABELLED if own else LABELLED).format(
            start=start,
            lengths=", lengths=lengths" * stack.bidirectional,
            hidden=hidden,
            and_first=f"\n        last = torch.cat([last, y[:, 0, {hidden}:]], -1)"
            if stack.bidirectional
            else "",
            squeezed=".squeeze(-1)" if task.sigmoid else "",
        )
    else:
        states = list(model.inputs)[1:]
        one_hot = f"nn.functional.one_hot(tokens, {stack.input_size}).float()"
        group = ", ".join(states)
        forward = TEXT.format(
            states=group,
            embedded="self.embedding(tokens)" if embedding is not None else one_hot,
            given=f"[{group}]" if own else f"({group})" if len(states) > 1 else group,
            last=f"[{group}]" if own else f"({group})" if len(states) > 1 else group,
        )
    what = one_line(what).replace("\\", "/").replace('"', "'")  # names in `what` cannot end the docstring
    words = textwrap.fill(model.words.replace("`", ""), 110, subsequent_indent="    ")
    text = HEAD.format(
        what=what, functional=functional, layers=layers, words=words, parts="\n".join(parts), forward=forward
    )
    return text, {name: value.detach().clone().contiguous() for name, value in weights.items()}


def torchs_layer(stack: Stack) -> tuple[list[str], dict[str, Tensor]]:
    """The line of code that makes torch's layer, and its weights."""
    layer = to_torch(without_start(stack))
    layer.dropout = 0.0  # a trained model needs no dropout, and torch warns of it for a single layer
    rest = [repr(getattr(layer, name)) for name in ("input_size", "hidden_size")]
    options = {"num_layers": 1, "bias": True, "bidirectional": False, "nonlinearity": "tanh"}
    said = {name: getattr(layer, name, default) for name, default in options.items()}
    rest += [f"{name}={value!r}" for name, value in said.items() if value != options[name]]
    line = f"        self.rnn = nn.{type(layer).__name__}({', '.join(rest)}, batch_first=True)"
    return [line], {f"rnn.{name}": value for name, value in layer.state_dict().items()}


def without_start(stack: Stack) -> Stack:
    """A copy without a learned initial state."""
    stack = copy.deepcopy(stack)
    for cell in stack.layers:
        cell.initial = None  # type: ignore[assignment]
    return stack


ELSEWHERE = """
import sys
sys.path += [place for place in sys.argv[4:] if place not in sys.path]  # torch may be there
import torch
sys.modules["rnnlab"] = None  # not to be had
sys.path.insert(0, sys.argv[1])
from model import load
with torch.no_grad():
    found = load()(*torch.load(sys.argv[2], weights_only=True))
torch.save([found] if isinstance(found, torch.Tensor) else list(found), sys.argv[3])
"""


def check(model: Portable, folder: Path) -> str:
    """Compares the files with the run in a process without rnnlab; raises UserError where the numbers differ."""
    inputs = longer_inputs(model)
    with torch.no_grad():
        ours: Any = model.module.eval()(*inputs.values())
    with tempfile.TemporaryDirectory() as place:
        given, found = f"{place}/given.pt", f"{place}/found.pt"
        torch.save(list(inputs.values()), given)
        # -I leaves out the user's site-packages and PYTHONPATH: their entries are passed, but not the working folder
        places = [place for place in sys.path if not is_here(place)]
        words = [sys.executable, "-I", "-B", "-c", ELSEWHERE, str(folder.absolute()), given, found, *places]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"its process ended with code {done.returncode}"]
            raise UserError(f"model.py: does not run: {said[-1]}")
        theirs = torch.load(found, weights_only=True)
    pairs = zip([ours] if isinstance(ours, Tensor) else ours, theirs, strict=True)
    worst = apart(pairs)
    if not worst <= TOLERANCE:
        raise UserError(f"model.py: differs from the run by {worst:.1e}; it is not to be used")
    return f"checked: in a process without rnnlab it agrees with the run to {worst:.0e}"
