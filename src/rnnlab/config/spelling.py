"""The nearest right spelling of a key among all keys of a config."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

# what users of Lightning, nanoGPT or torch's examples call what has another name here
RESUME = (
    "The same command goes on with a stopped run; resume=RUN trains a finished one for longer; model.init_from=RUN "
    "starts from its weights"
)
ELSEWHERE = {
    "ckpt_path": RESUME,
    "resume_from_checkpoint": RESUME,
    "checkpoint_path": RESUME,
    "load_from": RESUME,
    "weights": RESUME,
    "gpus": "trainer.accelerator=gpu takes one; with --multirun each run has its own",
    "epochs": "trainer.max_epochs says how many",
    "steps": "trainer.max_steps says how many",
    "num_workers": "The data lies in memory; no processes load it",
    "output_dir": "paths.outputs is where runs lie",
    "early_stopping": "callbacks=early_stopping adds it",
    "grad_clip": "trainer.gradient_clip_val clips",
}


def keys_of(tree: Any, at: str = "") -> Iterator[str]:
    """All dotted keys of a config or of nested dictionaries, groups included."""
    if isinstance(tree, DictConfig):
        tree = OmegaConf.to_container(tree, resolve=False)
    if isinstance(tree, dict):
        for key, value in tree.items():
            path = f"{at}.{key}" if at else str(key)
            yield path
            yield from keys_of(value, path)


def near_key(key: str, tree: Any, extra: Iterable[str] = ()) -> str:
    """' Did you mean X?' for the nearest key, ' Possible: ...' for those beside it, or ''.

    A key that has the right name in the wrong place, such as `lr` for `optimizer.lr`, counts as nearest.
    """
    if other := ELSEWHERE.get(key.rpartition(".")[2]):
        return f" {other}."
    keys = [k for k in (*keys_of(tree), *extra) if k != key and "._" not in k]
    parent, _, last = key.rpartition(".")
    beside = [k for k in keys if k.rpartition(".")[0] == parent]
    names = [k.rpartition(".")[2] for k in beside]  # without what they share, or all of them would be near
    swapped = [name for name in names if sorted(name) == sorted(last)]  # as in `rl`
    if match := swapped or difflib.get_close_matches(last, names, n=1, cutoff=0.6):
        return f" Did you mean {f'{parent}.' if parent else ''}{match[0]}?"
    if match := difflib.get_close_matches(key, set(keys) - {parent, *beside}, n=1, cutoff=0.75):
        return f" Did you mean {match[0]}?"
    if same := [k for k in keys if k.rpartition(".")[2] == last]:
        return f" Did you mean {same[0]}?"
    if parent and beside:
        return f" Possible in {parent}: {', '.join(sorted({k.rpartition('.')[2] for k in beside}))}."
    return ""
