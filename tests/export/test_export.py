"""What `rnnlab export` writes gives the run's numbers where rnnlab is not."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from rnnlab.errors import UserError
from rnnlab.export.export import export

TEXT = ("experiment=notebook/char_rnn", "trainer.threads=1", "trainer.accelerator=cpu", "callbacks=none",
        "trainer.max_steps=5", "trainer.val_check_interval=5")  # fmt: skip
FOREIGN = """
import sys, numpy, torch
sys.modules["rnnlab"] = None
out = torch.export.load(sys.argv[1]).module()(torch.from_numpy(numpy.load(sys.argv[2])))
numpy.save(sys.argv[3], out.detach().numpy())
"""


def raw(run, x):
    """The forecast in the units of the data, by hand."""
    spec, task = run.model.spec, run.model
    scaled = (torch.from_numpy(x) - torch.tensor(spec["input_shift"])) / torch.tensor(spec["input_scale"])
    with torch.no_grad():
        return (
            task(scaled) * torch.tensor(spec["target_scale"]) + torch.tensor(spec["target_shift"])
        ).numpy()


X = np.sin(np.arange(3 * 25, dtype=np.float32)).reshape(3, 25, 1)


@pytest.mark.parametrize("options", [("model.cell=lstm",), ("model.cell=gru", "model.subtract_last=true")])
def test_onnx_takes_and_gives_the_units_of_the_data(small, options):
    onnxruntime = pytest.importorskip("onnxruntime")
    run = small(*options)
    folder, checked = export(run, "onnx")
    assert checked.startswith("checked: onnxruntime agrees")
    (found,) = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"x": X})
    np.testing.assert_allclose(found, raw(run, X), rtol=0, atol=1e-5)


def test_a_torch_program_needs_no_rnnlab(small, tmp_path):
    run = small()
    folder, _ = export(run, "torch")
    np.save(tmp_path / "x.npy", X)
    words = [sys.executable, "-c", FOREIGN, folder / "model.pt2", tmp_path / "x.npy", tmp_path / "y.npy"]
    subprocess.run(list(map(str, words)), check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), raw(run, X), rtol=0, atol=1e-5)


def test_a_text_models_state_goes_in_and_comes_out(small):
    onnxruntime = pytest.importorskip("onnxruntime")
    run = small(base=TEXT)
    folder, _ = export(run, "onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    start = json.loads((folder / "start.json").read_text())
    state = {name: np.repeat(np.array(x, np.float32)[:, None], 2, 1) for name, x in start.items()}
    tokens = np.arange(2 * 11).reshape(2, 11) % len(json.loads((folder / "vocabulary.json").read_text()))
    first, *after = session.run(None, {"tokens": tokens[:, :4], **state})
    second, *_ = session.run(None, {"tokens": tokens[:, 4:], **dict(zip(state, after, strict=True))})
    with torch.no_grad():
        whole = run.model(torch.from_numpy(tokens))[0].numpy()
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, rtol=0, atol=1e-5)


def test_safetensors_hold_the_weights_asked_for(small):
    load = pytest.importorskip("safetensors.torch").load_file
    run = small("trainer.max_epochs=2")
    folder, _ = export(run, "safetensors", weights="last")
    kept = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    found = load(folder / "model.safetensors")
    assert found.keys() == kept.keys() and all(torch.equal(found[name], kept[name]) for name in kept)
    card = (folder / "README.md").read_text()
    assert run.manifest["data_hash"] in card and "persistence" in card and "hidden_size: 8" in card


def test_a_strangers_run_is_not_loaded(small):
    run = small()
    file = run.folder / "config.yaml"
    file.write_text(file.read_text().replace("rnnlab.tasks.Forecaster", "os.system"))
    with pytest.raises(UserError, match="trust"):
        export(run, "safetensors")
