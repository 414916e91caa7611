"""`model.equal`: the hidden size at which a recurrence has a given number of parameters or operations.

Only the recurrence is counted. The width of its input is that of the embedding, or 1 where there is none. Nothing
that depends on the data is counted, so that the size is known before the data is.
"""

import re
from functools import lru_cache
from typing import Any

ASKED = re.compile(r"(parameters|flops):(\d+(?:\.\d+)?(?:[eE]\d+)?)")
MOST = 1e12  # far more than fits into memory, and few enough to be counted on torch's meta device
KEYS = ("cell", "nonlinearity", "bias", "initial_state", "num_layers", "bidirectional", "embedding_size")


def set_hidden_size(model: dict[str, Any], asked: str) -> str | None:
    """Sets `hidden_size` in the config of a model with a cell of rnnlab; returns the reason if it cannot, else None.

    `equal` is null afterwards, so that the run is the same as one with this `hidden_size`.
    """
    options = tuple(sorted((k, v) for k, v in (model.get("options") or {}).items() if v is not None))
    hidden = nearest_hidden(asked, tuple(model.get(key) for key in KEYS), options)
    if isinstance(hidden, str):
        return hidden
    model["hidden_size"], model["equal"] = hidden, None
    return None


@lru_cache(maxsize=4096)
def nearest_hidden(asked: str, values: tuple[Any, ...], options: tuple[tuple[str, Any], ...]) -> int | str:
    """The hidden size whose count is nearest; an error line if even one unit has more than twice the count."""
    found = ASKED.fullmatch(asked)
    assert found is not None  # the schema has checked it
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
    """Parameters, or floating-point operations in a step: two for each weight in a matrix product."""
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
