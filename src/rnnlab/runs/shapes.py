"""What the files of a run's folder must look like to be read as such: whoever wrote them may have meant harm."""

from types import FunctionType
from typing import Any

LONG = 100_000  # characters of a text, but for a diff
BITS = 64  # of a whole number


def number(value: Any) -> str:
    """Finite or not, for a loss may be either."""
    return "" if isinstance(value, (int, float)) and not isinstance(value, bool) else "is no number"


def step(value: Any) -> str:
    """As a file of events can count them."""
    if isinstance(value, bool) or not isinstance(value, int):
        return "is no whole number"
    return "" if 0 <= value < 2**63 else "is no step"


def text(value: Any) -> str:
    if not isinstance(value, str):
        return "is no text"
    return "" if len(value) <= LONG else f"is a text of {len(value):,} characters"


SCORES: dict[Any, Any] = {...: number}  # ...: whatever the key is called
NEEDS = object()  # the keys that a mapping has, unless it is empty
SCORED: dict[Any, Any] = {
    NEEDS: ("step", "metrics"),
    "value": number,
    "step": step,
    "epoch": step,
    "monitor": text,
    "metrics": SCORES,
}
RECORD: dict[Any, Any] = {
    **dict.fromkeys(("id", "group", "label", "experiment", "created", "started", "ended", "why", "parent"), text),
    "status": {"queued", "running", "finished", "stopped", "failed", "skipped"},
    "traceback": text,
    "seconds": number,
    "engine": {...: text},
    "results": {
        "steps": step, "best": SCORED, "last": SCORED, "train": SCORES, "test": SCORES,
        "baselines": {...: {...: SCORES}}, "floor": {...: SCORES}, "facts": {...: {"realised_noise": number}},
    },
}  # fmt: skip
MANIFEST: dict[Any, Any] = {
    "command": [text],
    "engine": {...: text},
    "data_hash": (str, type(None)),
    "code": {"commit": (str, type(None)), "clean": bool, "diff": str, "rnnlab": str},
    "sources": {...: str},
    "syntax": {...: str},
    "versions": {...: str},
    "machine": {"cpu": str, "platform": str, "cores": (int, type(None)), "cpu_flags": [str], "gpus": [str]},
    "threads": {...: number},
    "environment": {...: str},
    "determinism": {},
    "changed_on_the_way": [str],
}
CONFIG: dict[Any, Any] = {
    **{
        key: {}
        for key in ("model", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger", "paths")
    },
    **dict.fromkeys(("name", "monitor", "mode"), text),
}


def misfit(value: Any, shape: Any, at: str = "") -> str:
    """Why a value has not the shape, in a few words; "" where it has. What a shape does not name may be anything."""
    here = at or "it"
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{here} is no mapping"
        if value and (lacks := [key for key in shape.get(NEEDS, ()) if key not in value]):
            return f"{here} has no {lacks[0]}"
        for key, inner in value.items():
            if not isinstance(key, str):
                return f"{here} has a key that is no text"
            wanted = shape.get(key, shape.get(...))
            if wanted is not None and (why := misfit(inner, wanted, f"{at}.{key}" if at else key)):
                return why
        return ""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{here} is no list"
        return next((why for inner in value if (why := misfit(inner, shape[0], here))), "")
    if isinstance(shape, set):
        return (
            ""
            if isinstance(value, str) and value in shape
            else f"{here} is none of {', '.join(sorted(shape))}"
        )
    if isinstance(shape, FunctionType):
        return f"{here} {why}" if (why := shape(value)) else ""
    if not isinstance(value, shape):
        return f"{here} is {'no text' if shape is str else 'not what it should be'}"
    return ""


def endless(value: Any, at: str = "") -> str:
    """Where a whole number of more than 64 bits stands, which no counter holds and no line shows; "" for nowhere."""
    if isinstance(value, int):
        return (at or "it") if value.bit_length() > BITS else ""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        if isinstance(key, int) and key.bit_length() > BITS:
            return f"a key of {at or 'it'}"
        if found := endless(inner, f"{at}.{key}" if at else str(key)):
            return found
    return ""
