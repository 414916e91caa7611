"""What each hidden unit of a text model does over a held-out passage, for the run's page to look into."""

import base64
import json
from pathlib import Path
from typing import Any

import torch

from rnnlab.data.vocabulary import Vocabulary
from rnnlab.runs.files import write_whole
from rnnlab.runs.run import Run

STEPS, NUMBERS = 2000, 160_000  # characters of the passage; states that are kept, of the liveliest units
FILE = "units.json"


@torch.inference_mode()
def record_units(run: Run, task: Any, data: Any) -> Path | None:
    """Writes samples/units.json: the passage, and the top layer's output at each of its characters, read from the
    initial state by the best weights; a byte a number, 127 for the greatest modulus. None for what reads no text.
    """
    if getattr(task, "kind", "") != "text" or not hasattr(data, "rows"):
        return None
    part = data.held_out()
    rows = data.rows(part)[:, :-1]  # the last of a row is the first of the next one
    ids = rows[: -(-STEPS // rows.shape[1])].flatten()[:STEPS].to(task.device)
    x, _ = task.stack_input(ids[None])
    h = task.stack(x)[0][0].float().cpu().nan_to_num()  # (T, H)
    lively = h.std(0).argsort(descending=True)[: max(1, NUMBERS // len(h))].sort().values
    scale = float(h.abs().max()) or 1.0
    states = (127 * h[:, lively] / scale).round().to(torch.int8).contiguous().numpy()
    vocabulary = Vocabulary.from_spec(task.spec)
    found = {
        "part": {"val": "validation", "train": "training"}.get(part, part),
        "text": [vocabulary.decode([int(i)]) for i in ids.cpu()],
        "units": lively.tolist(),
        "of": h.shape[1],
        "scale": scale,
        "states": base64.b64encode(states.tobytes()).decode(),  # (T, units), row by row
    }
    run.samples.mkdir(parents=True, exist_ok=True)
    write_whole(run.samples / FILE, json.dumps(found).encode("utf-8", "surrogatepass"))
    return run.samples / FILE
