"""Records the hidden units of a text model over a held-out passage, for the run's page."""

import base64
import json
from pathlib import Path
from typing import cast

import torch

from rnnlab.data.module import SequenceData
from rnnlab.data.spec import TextSpec
from rnnlab.data.vocabulary import Vocabulary
from rnnlab.runs.files import write_whole
from rnnlab.runs.run import Run
from rnnlab.tasks.task import Task

STEPS, NUMBERS = 2000, 160_000  # characters of the passage; values that are kept, of the most active units
FILE = "units.json"


@torch.inference_mode()
def record_units(run: Run, task: Task, data: SequenceData) -> Path | None:
    """Writes samples/units.json: a passage, and the top layer's output at each of its characters, from the initial
    state on and with the best weights. Each value is one byte; 127 stands for the greatest absolute value. None for a
    model that reads no text.
    """
    if getattr(task, "kind", "") != "text" or not hasattr(data, "rows"):
        return None
    part = data.held_out()
    rows = data.rows(part)[:, :-1]  # the last character of a row is the first of the next row
    if getattr(data, "split", "") == "rows":  # between rows lies the text of other parts
        rows = rows[:1]
    ids = rows[: -(-STEPS // rows.shape[1])].flatten()[:STEPS].to(task.device)
    x, _ = task.stack_input(ids[None])
    h = task.stack(x)[0][0].float().cpu().nan_to_num()  # (T, H)
    lively = h.std(0).argsort(descending=True)[: max(1, NUMBERS // len(h))].sort().values
    scale = float(h.abs().max()) or 1.0
    states = (127 * h[:, lively] / scale).round().to(torch.int8).contiguous().numpy()
    vocabulary = Vocabulary.from_spec(cast(TextSpec, task.spec))
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
