"""Modules of the user's own, which rnnlab knows nothing of: traced by their `forward`, or a line."""

import sys
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import rnnlab
import warm
from rnnlab.errors import UserError
from rnnlab.export.export import export
from rnnlab.export.onnx import longer
from rnnlab.export.own import candidates, scaling

ASKED = (
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "callbacks=none",
    "logger=none",
)


class Rows(lightning.LightningDataModule):
    """Sequences (rows, steps, 3), and the sum of each."""

    def __init__(self, batch_size=8, as_dict=False):
        super().__init__()
        self.batch_size, self.as_dict = batch_size, as_dict

    def loader(self, *_):
        x = torch.sin(torch.arange(24 * 6 * 3.0)).view(24, 6, 3)
        data = TensorDataset(x, x.sum((1, 2))[:, None])
        return DataLoader(data, batch_size=self.batch_size, collate_fn=as_dict if self.as_dict else None)

    train_dataloader = val_dataloader = loader


def as_dict(rows):
    return dict(zip("xy", map(torch.stack, zip(*rows, strict=True)), strict=True))


class Sums(lightning.LightningModule):
    def __init__(self, kind="plain"):
        super().__init__()
        self.kind = kind
        self.rnn, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        y, h = (
            self.rnn(x) if self.kind != "mean" else (x.mean(1, keepdim=True).repeat(1, 1, 2)[..., :4], None)
        )
        if self.kind == "branch" and float(x.sum()) > 0:
            y = -y
        found = self.head(y[:, -1])
        if self.kind == "list":
            return found, [h]
        if self.kind in ("none", "empty"):
            return (
                (found[:, :0],) if self.kind == "empty" and not self.training else (found,)[: self.training]
            )
        return {"sum": found, "state": h.transpose(0, 1)} if self.kind == "two" else found

    def training_step(self, batch, i):
        x, y = batch.values() if isinstance(batch, dict) else batch
        found = self(x)[0] if self.kind in ("list", "none", "empty") else self(x)
        return nn.functional.mse_loss(found["sum"] if isinstance(found, dict) else found, y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


@pytest.fixture
def trained(tmp_path):
    def train(kind="plain", **options):
        return rnnlab.train(*ASKED, f"paths.outputs={tmp_path / 'outputs'}", "name=own", module=Sums(kind),
                            data=Rows(**options), quiet=True)  # fmt: skip

    return train


FOREIGN = """
import sys, torch
sys.modules["rnnlab"] = None
given = torch.load(sys.argv[2], weights_only=True)
found = torch.export.load(sys.argv[1]).module()(given)
torch.save(list(found) if isinstance(found, tuple) else [found], sys.argv[3])
"""


@pytest.mark.parametrize("to", ["onnx", "torch"])
# torch fixes those of nn.GRU
@pytest.mark.parametrize(("kind", "steps"), [("plain", 6), ("two", 6), ("mean", 9)])
def test_a_lightning_module_is_exported_with_any_number_of_rows(trained, tmp_path, kind, steps, to):
    run = trained(kind, batch_size=1 if kind == "two" else 8)
    folder, checked = export(run, to)
    x = torch.cos(torch.arange(5 * steps * 3.0)).view(5, steps, 3)
    with torch.no_grad():
        want = run.model(x)
    if to == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(folder / "model.onnx")
        found = session.run(None, {"x": x.numpy()})
    else:
        torch.save(x, tmp_path / "x.pt")
        files = map(str, (folder / "model.pt2", tmp_path / "x.pt", tmp_path / "y.pt"))
        warm.run([sys.executable, "-I", "-c", FOREIGN, *files], check=True, cwd=tmp_path)
        found = [y.detach().numpy() for y in torch.load(tmp_path / "y.pt", weights_only=True)]
    for ours, theirs in zip(want.values() if kind == "two" else [want], found, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=1e-5)
    card = (folder / "README.md").read_text()
    assert f"`forward` of Sums takes `x` (batch, {'time' if kind == 'mean' else 6}, 3) float32" in card
    assert checked.startswith("checked")
    line = "The length is fixed, 6 steps of `x`: torch fixes it where it traces nn.GRU."
    assert (line in checked) == (line in card) == (kind != "mean")


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_the_cards_code_runs_as_it_stands(trained, monkeypatch, to):
    pytest.importorskip("onnxruntime")
    folder, _ = export(trained("two"), to)
    monkeypatch.chdir(folder)
    space = {}
    exec((folder / "README.md").read_text().split("```python\n")[1].split("```")[0], space)
    assert tuple(space["output1"].shape) == (8, 1, 4)


def test_a_number_before_the_rows_has_no_rows():
    first = next(candidates({"scale": torch.tensor(2.0), "x": torch.ones(4, 6, 3)}))
    assert first == {"scale": {}, "x": {0: "batch", 1: "time"}}


@pytest.mark.parametrize(
    ("kind", "options", "line"),
    [
        ("none", {}, "forward of Sums gives an empty output, which cannot be checked"),
        ("empty", {}, "forward of Sums gives an empty output, which cannot be checked"),
        ("branch", {}, r"forward of Sums cannot be traced: .*; --to safetensors takes its weights"),
        ("plain", {"as_dict": True}, r"a batch has a \w+, and only tensors are traced; --to safetensors"),
    ],
)
def test_what_cannot_be_traced_is_a_line_and_leaves_nothing(trained, tmp_path, kind, options, line):
    run = trained(kind, **options)
    with pytest.raises(UserError, match=line):
        export(run, "torch", tmp_path / "away")
    assert not (tmp_path / "away").exists()
    folder, _ = export(run, "safetensors")
    assert (folder / "model.safetensors").exists()


def test_a_task_of_ones_own_is_traced_too(tmp_path, monkeypatch):
    """The quantile task of docs/extending.md."""
    pytest.importorskip("onnxruntime")
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    for name in ("mytasks.py", "myconf/model/quantile.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(page.split(f"`{name}`")[1].split("```")[1].partition("\n")[2])
    monkeypatch.syspath_prepend(tmp_path)
    run = rnnlab.train(*ASKED, "data=sine", "data.n_points=200", "data.fractions=[0.8,0.2,0.0]",
                       "model=quantile", "name=quantile", "monitor=metric/pinball",
                       f"paths.outputs={tmp_path / 'outputs'}",
                       config_dir=str(tmp_path / "myconf"), quiet=True)  # fmt: skip
    folder, checked = export(run, "onnx")
    assert checked.startswith("checked: onnxruntime agrees")
    assert "Quantile takes `x` (batch, time, 1)" in (folder / "README.md").read_text()


class ByName(Rows):
    """Its method `loader` takes something else than rnnlab's."""

    def loader(self, rows):
        return DataLoader(rows, batch_size=self.batch_size)

    def train_dataloader(self):
        return self.loader(Rows().loader().dataset)

    val_dataloader = train_dataloader


def test_data_with_a_loader_of_another_kind_gives_a_batch(tmp_path):
    run = rnnlab.train(
        *ASKED, f"paths.outputs={tmp_path}", "name=own", module=Sums(), data=ByName(), quiet=True
    )
    assert export(run, "torch")[1].startswith("checked")


def test_the_output_that_is_no_tensor_is_named(trained):
    with pytest.raises(UserError, match="forward of Sums gives a list, and only tensors are traced"):
        export(trained("list"), "torch")


def test_a_scaled_series_is_told_in_the_card():
    spec = {
        "input_shift": [2.5, 0.0],
        "input_scale": [0.1, 1.0],
        "target_shift": [2.5],
        "target_scale": [0.1],
    }
    task = type("Mine", (), {"spec": spec})()
    assert scaling(task) == (
        " It takes scaled values: those of the data minus 2.5, 0.0, divided by 0.1, 1.0. An output in this scale, "
        "times 0.1, plus 2.5, is in the units of the data."
    )
    task.spec = {key: [float("scale" in key)] for key in spec}
    assert scaling(task) == scaling(Sums()) == ""


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool, torch.float32, torch.float64])
def test_longer_inputs_keep_their_type(dtype):
    found = longer(torch.ones(2, 5, dtype=dtype), {0: "batch", 1: "time"})
    assert found.dtype == dtype and found.shape == (3, 7) and len(found.unique()) > 1
