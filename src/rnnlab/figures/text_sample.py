"""A sample of what a character model writes."""

from typing import Any

import torch

from rnnlab.data.vocabulary import Vocabulary
from rnnlab.tasks.char_lm import CharLM

PROMPT, LENGTH, TEMPERATURE = 20, 300, 0.8


@torch.inference_mode()
def sample(task: CharLM, data: Any) -> str:
    """A line that says what follows, the first characters of the validation part, and what the model adds.

    Where there is no validation part the prompt is from the training part. Seed 0, whatever the run's.
    """
    split = "val" if data.loader("val") is not None else "train"
    prompt = data.rows(split)[0, :PROMPT].to(task.device)
    drawn = list(task.sample(prompt, LENGTH, temperature=TEMPERATURE, seed=0))
    vocabulary = Vocabulary.from_spec(task.spec)
    part = {"val": "validation", "train": "training"}[split]
    head = (
        f"# {LENGTH} characters at temperature {TEMPERATURE}, seed 0, after the first {len(prompt)} of the "
        f"{part} part: {vocabulary.decode(prompt)!r}\n"
    )
    return head + vocabulary.decode(prompt) + vocabulary.decode(drawn) + "\n"
