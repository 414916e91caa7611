"""The model card of an export: the model's run, its scores beside baselines, and code that loads it."""

import re
from typing import Any

from rnnlab.export.portable import Portable
from rnnlab.report.typeset import in_table
from rnnlab.runs.run import Run
from rnnlab.runs.yaml import to_yaml
from rnnlab.terminal.screen import clean, one_line

GIVEN = {  # {kind of model: code for its inputs in NumPy, the same in torch, names of its outputs}
    "series": ("x = np.zeros({x}, np.float32)", "x = torch.zeros({x})", "forecast"),
    # only ids that the smallest vocabulary has
    "labelled": (
        "tokens, lengths = np.array([[1, 1, 1], [1, 1, 0]]), np.array([3, 2])",
        "tokens, lengths = torch.tensor([[1, 1, 1], [1, 1, 0]]), torch.tensor([3, 2])",
        "logits",
    ),
    "text": (
        'vocabulary, start = (json.load(open(f"{name}.json")) for name in ("vocabulary", "start"))\n'
        "tokens = np.array([[0, 1, 0]])  # vocabulary[0] and so on\n"
        "states = {name: np.array(s, np.float32)[:, None] for name, s in start.items()}",
        'vocabulary, start = (json.load(open(f"{name}.json")) for name in ("vocabulary", "start"))\n'
        "tokens = torch.tensor([[0, 1, 0]])  # vocabulary[0] and so on\n"
        "states = {name: torch.tensor(s)[:, None] for name, s in start.items()}",
        "logits, *after",
    ),
}
SAFETENSORS = """\
from safetensors import safe_open

with safe_open("model.safetensors", framework="pt") as file:
    about = file.metadata()  # the config of the run, and what the model knows of the data
    weights = {name: file.get_tensor(name) for name in file.keys()}"""


def snippet(to: str, model: Portable | None, plainly: bool) -> str:
    """Code that loads the exported files, calls the model and shows its inputs and outputs; it runs in their folder."""
    if model is None:
        return SAFETENSORS
    if type(model.module).__name__ == "Own":
        return own_snippet(to, model)
    kind = "series" if "x" in model.inputs else "labelled" if "lengths" in model.inputs else "text"
    in_numpy, in_torch, outputs = GIVEN[kind]
    given = (in_numpy if to == "onnx" else in_torch).replace(
        "{x}", str((1, *next(iter(model.inputs.values())).shape[1:]))
    )
    head = ["import json\n"] if kind == "text" else []
    if to == "onnx":
        named = {"series": '{"x": x}', "labelled": '{"tokens": tokens, "lengths": lengths}',
                 "text": '{"tokens": tokens} | states'}[kind]  # fmt: skip
        lines = ["import numpy as np", "import onnxruntime", "", given,
                 'model = onnxruntime.InferenceSession("model.onnx")',
                 f"{outputs}{'' if kind == 'text' else ','} = model.run(None, {named})"]  # fmt: skip
    else:
        loaded = ["from model import load", "", given, "model = load()"] if plainly else [
            "", given, 'model = torch.export.load("model.pt2").module()'
        ]  # fmt: skip
        call = {"series": "x", "labelled": "tokens, lengths", "text": "tokens, *states.values()"}[kind]
        lines = ["import torch", *loaded, f"{outputs} = model({call})"]
    return "\n".join(head + lines)


def own_snippet(to: str, model: Portable) -> str:
    """The code for a user's own module: its inputs have the sizes and types with which it was traced."""
    library, outputs = "np" if to == "onnx" else "torch", ", ".join(model.outputs)
    made = [f"{name} = {library}.zeros({tuple(x.shape)}, dtype={library}.{str(x.dtype).removeprefix('torch.')})"
            for name, x in model.inputs.items()]  # fmt: skip
    if to == "onnx":
        named = ", ".join(f'"{name}": {name}' for name in model.inputs)
        lines = ["import numpy as np", "import onnxruntime", "", *made,
                 'model = onnxruntime.InferenceSession("model.onnx")',
                 f"{outputs}{',' * (len(model.outputs) == 1)} = model.run(None, {{{named}}})"]  # fmt: skip
    else:
        lines = ["import torch", "", *made, 'model = torch.export.load("model.pt2").module()',
                 f"{outputs} = model({', '.join(model.inputs)})"]  # fmt: skip
    return "\n".join(lines)


def card(run: Run, weights: str, words: str, checked: str, loading: str) -> str:
    """README.md as Markdown; text in the config of another user's run cannot end the block it is in."""
    results, scores = run.results, []
    baselines = results.get("baselines", {})
    for part in ("val", "test"):
        chosen = results.get("best", {}) if weights == "best" else results.get("last", {})
        mine = results.get("test", {}) if part == "test" else chosen.get("metrics", {})
        who = f"this model ({weights if part == 'test' else f'{weights}, validation'})"
        if part == "test" and weights != "best":  # a training tests its best weights
            who = "the run's best weights, not these"
        rows = {who: mine} if mine else {}
        for name, found in (rows | baselines.get(part, {})).items():
            plain = {key.removeprefix("metric/").removesuffix("/val"): value for key, value in found.items()}
            numbers = ", ".join(f"{metric} {value:.4g}" for metric, value in plain.items())
            scores.append(f"| {part} | {in_table(name)} | {in_table(numbers)} |")
    config = clean(to_yaml(run.config))
    fence = "`" * max([3, *(len(found) + 1 for found in re.findall("`+", config))])
    said: list[Any] = [
        f"# {one_line(run.folder.parent.name)}: {one_line(run.folder.name)}",
        f"The {weights} weights of run `{one_line(run.known.get('id', ''))}`, exported by rnnlab. {words}".strip(),
        checked,
        "## Scores",
        "\n".join(["| part | who | metrics |", "| --- | --- | --- |", *scores]),
        "## Load it",
        f"```python\n{loading}\n```",
        "## Data",
        f"SHA-256 of what the model saw: `{run.manifest.get('data_hash')}`",
        "## Config",
        f"{fence}yaml\n{config.rstrip()}\n{fence}",
    ]
    return "\n\n".join(part for part in said if part) + "\n"
