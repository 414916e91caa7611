"""The number of threads changes no bit of a run on the native engine: not of its validations, and what follows them."""

import pytest
import torch

from rnnlab import native

pytestmark = pytest.mark.skipif(
    native.obstacle() is not None, reason=f"the native engine cannot be had here: {native.obstacle()}"
)
LARGE = ("model.engine=native", "data.n_points=9000", "data.horizon=64", "data.batch_size=1024", "trainer.max_epochs=3",
         "data.fractions=[0.3,0.4,0.3]")  # fmt: skip
PLATEAU = ("scheduler=plateau", "scheduler.patience=0", "+scheduler.threshold=0.5")


@pytest.mark.parametrize("more", [(), PLATEAU, ("model.loss=huber",)], ids=["plain", "plateau", "huber"])
def test_any_number_of_threads_gives_the_same_bits(small, tmp_path, more):
    found = []
    for threads in (1, 2, 3):
        run = small(*LARGE, *more, f"trainer.threads={threads}", outputs=tmp_path / str(threads))
        weights = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
        found.append(
            (run.metrics_file.read_bytes(), run.results, {k: v.tolist() for k, v in weights.items()})
        )
    assert found[0] == found[1] == found[2]
    assert torch.get_num_threads() > 0
