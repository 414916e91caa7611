"""The model card: what a model is, what it reached beside baselines, and how to load it."""

import re
from typing import Any

from rnnlab.runs.run import Run
from rnnlab.runs.yaml import to_yaml
from rnnlab.terminal.screen import clean

LOADING = {
    "onnx": 'import onnxruntime\n\nmodel = onnxruntime.InferenceSession("model.onnx")\n'
    "print([(i.name, i.shape) for i in model.get_inputs()])\noutputs = model.run(None, {INPUTS})",
    "torch": 'import torch\n\nmodel = torch.export.load("model.pt2").module()\noutputs = model(INPUTS)',
    "safetensors": "from safetensors import safe_open\n\n"
    'with safe_open("model.safetensors", framework="pt") as file:\n'
    "    config = file.metadata()\n    weights = {name: file.get_tensor(name) for name in file.keys()}",
}


def card(run: Run, to: str, weights: str, words: str, checked: str) -> str:
    """README.md as Markdown; the text of a stranger's config cannot end its block."""
    results, scores = run.results, []
    baselines = results.get("baselines", {})
    for part in ("val", "test"):
        mine = results.get("test", {}) if part == "test" else results.get("best", {}).get("metrics", {})
        rows = {f"this model ({'best' if part == 'test' else 'best, validation'})": mine} if mine else {}
        for name, found in (rows | baselines.get(part, {})).items():
            plain = {key.removeprefix("metric/").removesuffix("/val"): value for key, value in found.items()}
            numbers = ", ".join(f"{metric} {value:.4g}" for metric, value in plain.items())
            scores.append(f"| {part} | {clean(str(name))} | {numbers} |")
    config = clean(to_yaml(run.config))
    fence = "`" * max([3, *(len(found) + 1 for found in re.findall("`+", config))])
    said: list[Any] = [
        f"# {clean(run.folder.parent.name)}: {clean(run.folder.name)}",
        f"The {weights} weights of run `{clean(str(run.known.get('id', '')))}`, exported by rnnlab. {words}".strip(),
        checked,
        "## Scores",
        "\n".join(["| part | who | metrics |", "| --- | --- | --- |", *scores]),
        "## Load it",
        f"```python\n{LOADING[to]}\n```",
        "## Data",
        f"SHA-256 of what the model saw: `{run.manifest.get('data_hash')}`",
        "## Config",
        f"{fence}yaml\n{config.rstrip()}\n{fence}",
    ]
    return "\n\n".join(part for part in said if part) + "\n"
