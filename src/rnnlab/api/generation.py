"""Text from a character model."""

from collections.abc import Iterator

from rnnlab.api.arguments import whole
from rnnlab.api.part import warn_of_changed_code
from rnnlab.data.spec import TextSpec
from rnnlab.errors import UserError
from rnnlab.memory import check_memory
from rnnlab.runs.run import Run


def generate(
    run: Run,
    prompt: str | None = None,
    length: int = 500,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    trust: bool = False,
) -> tuple[str, Iterator[str]]:
    """The prompt, and an iterator that draws the characters after it; see `rnnlab generate --help`.

    The default prompt is one character, drawn at random. Raises UserError for a run that is not a character model,
    a prompt with characters that the model does not know, and a number outside its range.
    """
    length, top_k, seed = whole("--length", length), whole("--top-k", top_k), whole("--seed", seed)
    ranges = {
        "length": (length, length >= 1, "at least 1"),
        "temperature": (temperature, 0 <= temperature < float("inf"), "a number of at least 0"),
        "top-k": (top_k, top_k is None or top_k >= 1, "at least 1"),
        "top-p": (top_p, top_p is None or 0 < top_p <= 1, "above 0 and at most 1"),
        "seed": (seed, seed >= 0, "at least 0"),
    }
    for name, (value, right, words) in ranges.items():
        if not right:
            raise UserError(f"--{name} {value}: must be {words}")
    check_memory(8.0 * length, f"--length {length}")

    from rnnlab.data.vocabulary import Vocabulary
    from rnnlab.runs.load import load_model
    from rnnlab.tasks import CharLM
    from rnnlab.training.threads import thread_count

    task = load_model(run, trust)
    if not isinstance(task, CharLM):
        raise UserError(
            f"{run.folder} holds a {type(task).__name__}; only a character model (CharLM) can write"
        )
    warn_of_changed_code(run, "model")
    # data.unknown may skip or replace unknown characters; in a prompt they are an error
    vocabulary = Vocabulary(task.spec["vocabulary"])
    prompt = prompt or random_character(task.spec, seed)
    ids = vocabulary.encode(prompt)

    def drawn() -> Iterator[str]:
        with thread_count(1):  # one step is too small for several threads
            for i in task.sample(ids, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed):
                yield vocabulary.characters[i]

    return prompt, drawn()


def random_character(spec: TextSpec, seed: int) -> str:
    """A uniformly drawn character of the vocabulary, from counter 1 of the "sample" stream (the text uses 0)."""
    from rnnlab import streams

    known = spec["vocabulary"][: -1 if spec["unknown"] == "replace" else None]
    return known[int(streams.generator(seed, "sample", 1).integers(len(known)))]
