"""The nearest right spelling of a key among all keys of a config."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rnnlab.errors import nearest

# {name in Lightning, nanoGPT or torch's examples: its equivalent here}
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
    "gpus": "trainer.accelerator=gpu takes one, trainer.devices=N several; with --multirun each run has its own",
    "epochs": "trainer.max_epochs says how many",
    "steps": "trainer.max_steps says how many",
    "num_workers": "The data lies in memory; no processes load it",
    "output_dir": "paths.outputs is where runs lie",
    "early_stopping": "callbacks=early_stopping adds it",
    "grad_clip": "trainer.gradient_clip_val clips",
    # former arguments of Lightning's Trainer, which users still write
    "auto_lr_find": "rnnlab find-lr finds a rate",
    "auto_scale_batch_size": "rnnlab find-lr --batch-sizes compares sizes",
    "track_grad_norm": "callbacks=inspect shows gradients through time",
    "truncated_bptt_steps": "data.segment is the length of a segment",
    "terminate_on_nan": "A loss that is not finite ends the run; trainer.divergence_factor ends it earlier",
    "progress_bar_refresh_rate": "callbacks.progress.refresh_s is the seconds between two updates of the bar",
    "weights_summary": "callbacks take lightning's ModelSummary",
    "checkpoint_callback": "checkpoint.every_n_steps and every_seconds say how often a run saves itself",
    "train_percent_check": "trainer.limit_train_batches takes a share",
    "val_percent_check": "trainer.limit_val_batches takes a share",
    "test_percent_check": "trainer.limit_test_batches takes a share",
    "distributed_backend": "+trainer.strategy=ddp names it",
    "row_log_interval": "trainer.log_every_n_steps says how often",
    "max_nb_epochs": "trainer.max_epochs says how many",
    "num_processes": "trainer.devices says how many",
    "stochastic_weight_avg": "callbacks take lightning's StochasticWeightAveraging",
}

# other words for the same thing
ALIKE = {"valid": "val", "validation": "val", "metric": "val", "training": "train", "acc": "accuracy"}


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
    """' Did you mean X?' for the nearest key, ' Possible in PARENT: ...' for the keys beside it, or ''.

    A right name in the wrong place counts as near, such as `lr` for `optimizer.lr`.
    """
    if other := ELSEWHERE.get(key.rpartition(".")[2]):
        return f" {other}."
    keys = [k for k in (*keys_of(tree), *extra) if k != key and "._" not in k]
    parent, _, last = key.rpartition(".")
    beside = [k for k in keys if k.rpartition(".")[0] == parent]
    names = [k.rpartition(".")[2] for k in beside]  # without the common parent, or all would be similar
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


def near_metric(asked: str, seen: list[str]) -> str:
    """' Did you mean X?' or '', also for names that others use: val_loss, train_loss, valid/acc."""

    def words(name: str) -> set[str]:
        return {ALIKE.get(word, word) for word in re.split(r"[^a-z0-9]+", name.lower()) if word}

    if match := next((name for name in seen if words(name) == words(asked)), None):
        return f" Did you mean {match}?"
    said = nearest(asked, seen)
    return said if said.startswith(" Did") else ""
