"""The hidden size at which a recurrence has so many parameters, or takes so many operations: `model.equal`.

Counted is the recurrence alone, its first layer's input as wide as the embedding, or one number wide where there
is none: what depends on the data is left out, so that the size is known before the data is.
"""

import re
from functools import lru_cache
from typing import Any

ASKED = re.compile(r"(parameters|flops):(\d+(?:\.\d+)?(?:[eE]\d+)?)")
KEYS = ("cell", "nonlinearity", "bias", "initial_state", "num_layers", "bidirectional", "embedding_size")


def settle(model: dict[str, Any], asked: str) -> str | None:
    """Sets `hidden_size` in a model's config, whose cell is one of rnnlab's; why that cannot be, or None.

    `equal` is null afterwards: the run is the one that had been asked for by its hidden size.
    """
    options = tuple(sorted((k, v) for k, v in (model.get("options") or {}).items() if v is not None))
    hidden = nearest_hidden(asked, tuple(model.get(key) for key in KEYS), options)
    if isinstance(hidden, str):
        return hidden
    model["hidden_size"], model["equal"] = hidden, None
    return None


@lru_cache(maxsize=4096)
def nearest_hidden(asked: str, values: tuple[Any, ...], options: tuple[tuple[str, Any], ...]) -> int | str:
    """The hidden size whose count is nearest; or a line that says that even one unit has more than twice that."""
    found = ASKED.fullmatch(asked)
    assert found is not None  # the schema's business
    what, wanted = found[1], float(found[2])
    model = dict(zip(KEYS, values, strict=True)) | {"options": dict(options)}
    low, high = 1, 2
    if (least := count(what, model, low)) > 2 * wanted:
        return f"one hidden unit has {least} {what} already"
    while count(what, model, high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(what, model, middle) < wanted else (low, middle)
    return min((low, high), key=lambda h: abs(count(what, model, h) - wanted))


def count(what: str, model: dict[str, Any], hidden: int) -> int:
    """Parameters, or floating-point operations of a step: two for each weight in a product."""
    from rnnlab.cells import resolve
    from rnnlab.cells.size import size

    kind, directions = resolve(model["cell"]), 2 if model["bidirectional"] else 1
    options = {"bias": model["bias"], "initial_state": model["initial_state"], **model["options"]}
    if model["nonlinearity"] != "tanh":
        options["nonlinearity"] = model["nonlinearity"]
    total = size(kind, model["embedding_size"] or 1, hidden, **options)
    for _ in range(model["num_layers"] - 1):
        total += size(kind, directions * hidden, hidden, **options)
    return directions * (total.parameters if what == "parameters" else 2 * total.multiplications)
