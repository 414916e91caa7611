"""Exports a run's trained model into a folder of its own."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from rnnlab.errors import UserError
from rnnlab.export import onnx, plain, program
from rnnlab.export.card import card, snippet
from rnnlab.export.own import own
from rnnlab.export.portable import portable
from rnnlab.runs.files import link_out
from rnnlab.runs.load import load_model, read_checkpoint
from rnnlab.runs.run import Run

FORMATS = ("onnx", "torch", "safetensors")


def export(
    run: Run, to: str, out: Path | None = None, weights: Literal["best", "last"] = "best", trust: bool = False
) -> tuple[Path, str]:
    """Writes the export; returns its folder, and a text on how it was checked. Raises UserError if it is not possible.

    The run of another user is loaded by the usual rules: with `trust`, any code that its config names may run.
    """
    task = load_model(run, trust)
    if weights == "last":
        task.load_state_dict(read_checkpoint(run.last_checkpoint)["state_dict"])
    folder = out or run.folder / "export" / to
    if out is None and (link := link_out(folder, run.folder)):
        raise UserError(f"{link} is a link out of the run's folder; --out FOLDER says where to write")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: a file is there")
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(prefix=".unchecked-", dir=folder) as unchecked:
            checked = write(run, to, task, Path(unchecked), weights, trust)
            for file in Path(unchecked).iterdir():  # an export before stays until this one is checked
                file.replace(folder / file.name)
    except BaseException:
        for one in new:
            one.rmdir()
        raise
    return folder, checked


def write(run: Run, to: str, task: Any, folder: Path, weights: str, trust: bool) -> str:
    """Writes the model, the files that it needs, and the card; returns a text on how the model was checked."""
    words, checked, model = "", "", None
    if to == "safetensors":
        write_safetensors(run, task, folder / "model.safetensors")
    else:
        ours = portable(task)
        model = ours or own(task, run, trust)
        words = model.words
        if to == "onnx":
            checked = onnx.write(model, folder / "model.onnx")
        elif not (why := plain.obstacle(task) if ours else "its code is your own"):
            checked = plain.write(
                model, task, folder, f"The model of run {run.id} of {run.folder.parent.name}"
            )
        else:
            words += f" It is a program of torch.export: {why}."
            checked = program.write(model, folder / "model.pt2")
        if ours and "tokens" in model.inputs and "vocabulary" in task.spec:
            start = {name: x[:, 0].tolist() for name, x in model.inputs.items() if name != "tokens"}
            (folder / "start.json").write_text(json.dumps(start) + "\n")
    if "vocabulary" in getattr(task, "spec", {}):
        (folder / "vocabulary.json").write_text(json.dumps(task.spec["vocabulary"]) + "\n")
    loading = snippet(to, model, plainly=(folder / "model.py").exists())
    (folder / "README.md").write_text(card(run, weights, words, checked, loading), encoding="utf-8")
    return f"{checked}. {model.limits}" if model and model.limits else checked


def write_safetensors(run: Run, task: Any, file: Path) -> None:
    try:
        from safetensors.torch import save_file
    except ImportError:
        raise UserError("export --to safetensors needs safetensors: pip install 'rnnlab[export]'") from None
    about = {"config": json.dumps(run.config), "spec": json.dumps(getattr(task, "spec", {}))}
    # copies: the format refuses tied weights, two names of one tensor
    weights = {name: x.clone(memory_format=torch.contiguous_format) for name, x in task.state_dict().items()}
    save_file(weights, file, metadata=about)
