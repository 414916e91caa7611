"""What the files of a run's folder must look like to be read as such: whoever wrote them may have meant harm."""

from typing import Any

NUMBER = (int, float)
SCORES = {...: NUMBER}  # ...: whatever the key is called
SCORED = {"value": NUMBER, "step": NUMBER, "epoch": NUMBER, "monitor": str, "metrics": SCORES}
RECORD: dict[Any, Any] = {
    **dict.fromkeys(("id", "group", "label", "experiment", "created", "started", "ended", "why", "parent"), str),
    "status": {"queued", "running", "finished", "stopped", "failed", "skipped"},
    "traceback": str,
    "seconds": NUMBER,
    "engine": {...: str},
    "results": {
        "steps": NUMBER, "best": SCORED, "last": SCORED, "train": SCORES, "test": SCORES,
        "baselines": {...: {...: SCORES}}, "floor": {...: SCORES}, "facts": {...: {"realised_noise": NUMBER}},
    },
}  # fmt: skip
MANIFEST: dict[Any, Any] = {
    "command": [str],
    "engine": {...: str},
    "data_hash": (str, type(None)),
    "code": {"commit": (str, type(None)), "clean": bool, "diff": str, "rnnlab": str},
    "sources": {...: str},
    "versions": {...: str},
    "machine": {"cpu": str, "platform": str, "cores": (int, type(None)), "cpu_flags": [str], "gpus": [str]},
    "threads": {...: NUMBER},
    "environment": {...: str},
    "determinism": {},
    "changed_on_the_way": [str],
}
CONFIG: dict[Any, Any] = {
    **{
        key: {}
        for key in ("model", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger", "paths")
    },
    **dict.fromkeys(("name", "monitor", "mode"), str),
}


def misfit(value: Any, shape: Any, at: str = "") -> str:
    """Why a value has not the shape, in a few words; "" where it has. What a shape does not name may be anything."""
    here = at or "it"
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{here} is no mapping"
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
    if not isinstance(value, shape):
        return f"{here} is {'no number' if shape == NUMBER else 'no text' if shape is str else 'not what it should be'}"
    return ""
