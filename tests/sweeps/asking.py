"""What the sweeps of the tests are asked for, and what is looked at in what they leave."""

import torch

COMMON = (
    "experiment=sine", "data.n_points=200", "trainer.accelerator=cpu", "model.hidden_size=8", "trainer.max_epochs=8",
    "checkpoint.every_n_steps=7",
)  # fmt: skip
GRID = ("model.cell=elman,gru", "optimizer.lr=0.003,0.01", "seed=range(0,3)")


def words(folder, *overrides, base=COMMON):
    return [*base, *overrides, f"paths.outputs={folder}"]


def content(run):
    """All that must be the same bits: the curves and every weight."""
    weights = [
        torch.load(p, weights_only=True)["state_dict"] for p in (run.last_checkpoint, run.best_checkpoint)
    ]
    return run.metrics_file.read_bytes(), [{k: v.numpy().tobytes() for k, v in w.items()} for w in weights]
