"""The trainings whose resumes are checked: small ones, with five batches per epoch, of which the last is smaller."""

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

STOCK = "+callbacks.stock._target_=lightning.pytorch.callbacks.ModelCheckpoint"
CALLBACK = "+callbacks.stock."
SMALL = (
    "model.hidden_size=3",
    "trainer.threads=1",
    "trainer.accelerator=cpu",
    "checkpoint.every_seconds=null",
)
OWN = ("data=sine", "data.n_points=100", "data.window=4", "data.batch_size=14", "~model",
       "+model._target_=tortures.own.Own", *SMALL[1:])  # fmt: skip

# {factor: {level: overrides}}; "" is the default level
FACTORS: dict[str, dict[str, tuple[str, ...]]] = {
    "task": {
        "series": ("data=sine", "data.n_points=100", "data.window=4", "data.batch_size=14", *SMALL),
        "text": ("data=chars", "data.path={text}", "data.unknown=skip", "data.limit=180", "data.segment=5",
                 "data.batch_size=4", "data.fractions=[0.6,0.2,0.2]", "model=char_lm", "model.cell=gru", *SMALL),
        "tokens": ("data=tokens", "data.n_sequences=40", "data.vocab_size=20", "data.markers=3", "data.max_length=7",
                   "data.batch_size=7", "model.embedding_size=3", "model.cell=lstm", *SMALL),
        "own module": OWN,
    },
    "engine": {e: (f"model.engine={e}",) for e in ("reference", "torch", "native")},
    "validation": {
        "every epoch": (),
        "every batch": ("trainer.val_check_interval=1",),
        "every 2": ("trainer.val_check_interval=2",),
        "last but one": ("trainer.val_check_interval=4",),
        "last": ("trainer.val_check_interval=5",),
        "half": ("trainer.val_check_interval=0.5",),
        "every 2 epochs": ("trainer.check_val_every_n_epoch=2",),
        "last but one, every 2 epochs": ("trainer.check_val_every_n_epoch=2", "trainer.val_check_interval=4"),
        **{f"null, {n}": ("trainer.check_val_every_n_epoch=null", f"trainer.val_check_interval={n}")
           for n in (3, 4, 5, 9)},
    },
    "accumulation": {str(n): (f"trainer.accumulate_grad_batches={n}",) for n in (1, 2, 3, 5)},
    "end": {
        "2 epochs": ("trainer.max_epochs=2",),
        "inside an epoch": ("trainer.max_epochs=-1", "trainer.max_steps=7"),
        "at an epoch's end": ("trainer.max_epochs=-1", "trainer.max_steps=10"),
        "both limits": ("trainer.max_epochs=3", "trainer.max_steps=9"),
    },
    "schedule": {
        "constant": ("scheduler.warmup_steps=1",),
        "warm-up": ("scheduler.warmup_steps=3",),
        "cosine": ("scheduler=cosine",),
        "step by epochs": ("scheduler=step", "scheduler.step_size=1"),
        "step by steps": ("scheduler=step", "scheduler.step_size=2", "scheduler.interval=step"),
        "plateau": ("scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.2"),
    },
    "stopping": {
        "": ("callbacks=none",),
        "early": ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optimizer.lr=0.5",
                  "~callbacks.progress", "~callbacks.pictures"),
        "early, 2 epochs at least": ("callbacks=early_stopping", "callbacks.early_stopping.patience=1",
                                     "optimizer.lr=2.0", "~callbacks.progress", "~callbacks.pictures",
                                     "+trainer.min_epochs=2", "trainer.divergence_factor=null"),
        "rates logged": ("callbacks=none", "+callbacks.rates._target_=lightning.pytorch.callbacks.LearningRateMonitor"),
        "looked at": ("callbacks=none", "+callbacks.looks._target_=tortures.own.Looks"),
    },
    "stock checkpoints": {
        "": (),
        "every 2 steps": (STOCK, CALLBACK + "every_n_train_steps=2"),
        "every 2 steps, all, and last": (STOCK, CALLBACK + "every_n_train_steps=2", CALLBACK + "save_top_k=-1",
                                         CALLBACK + "save_last=true"),
        "best": (STOCK, CALLBACK + "monitor=loss/val", CALLBACK + "auto_insert_metric_name=false"),
        "best two, and last": (STOCK, CALLBACK + "monitor=loss/val", CALLBACK + "save_top_k=2",
                               CALLBACK + "save_last=true"),
        "last of every epoch": (STOCK, CALLBACK + "save_last=link", CALLBACK + "save_on_train_epoch_end=true"),
        "one name": (STOCK, CALLBACK + "every_n_train_steps=1", CALLBACK + "filename=one",
                     CALLBACK + "save_on_exception=true"),
        "monitored steps": (STOCK, CALLBACK + "every_n_train_steps=2", CALLBACK + "monitor=loss/val",
                            CALLBACK + "save_top_k=2", CALLBACK + "filename='of-{step}'"),
    },
    "limits": {
        "": (),
        "4 batches": ("trainer.limit_train_batches=4",),
        "a share": ("trainer.limit_train_batches=0.6", "trainer.limit_val_batches=1"),
        "no validation": ("trainer.limit_val_batches=0",),
        "overfit": ("trainer.overfit_batches=2",),
    },
    "sanity": {"no": ("trainer.num_sanity_val_steps=0",), "yes": ("trainer.num_sanity_val_steps=2",)},
    "model": {
        "": (),
        "dropout, sgd": ("model.num_layers=2", "model.dropout=0.3", "optimizer=sgd", "optimizer.momentum=0.9"),
        "rmsprop, clipped": ("optimizer=rmsprop", "trainer.gradient_clip_val=0.1"),
        "64 bits": ("trainer.precision=64-true",),
        "16 bits": ("trainer.precision=bf16-mixed",),
    },
    "calls": {"auto": (), "2": ("trainer.steps_per_call=2",)},
    "checkpoints": {str(n): (f"checkpoint.every_n_steps={n}",) for n in (1, 2, 3)},
}  # fmt: skip
ALL = ("engine", "validation", "accumulation", "end")  # factors of which every combination is checked
# a finished run, and what makes it longer
LONGER = [
    (("trainer.max_epochs=1",), ("trainer.max_epochs=2",)),
    (("trainer.max_epochs=-1", "trainer.max_steps=3"), ("trainer.max_epochs=2", "trainer.max_steps=-1")),
    (("trainer.max_epochs=-1", "trainer.max_steps=5"), ("trainer.max_epochs=-1", "trainer.max_steps=8")),
    (("trainer.max_epochs=1", "trainer.max_steps=4"), ("trainer.max_epochs=3", "trainer.max_steps=12")),
]
Configuration = dict[str, str]


def steps(chosen: Configuration) -> int:
    """How many optimizer steps the training has; for a factor that is not chosen, the level with the most counts."""
    batches = {"4 batches": 4, "a share": 3, "overfit": 2}.get(chosen.get("limits", ""), 5)
    an_epoch = math.ceil(batches / int(chosen.get("accumulation", "1")))
    ends = {"2 epochs": 2 * an_epoch, "inside an epoch": 7, "both limits": min(9, 3 * an_epoch)}
    return ends.get(chosen.get("end", ""), 10)


def fits(chosen: Configuration) -> bool:
    """Whether the levels can be combined; other combinations are refused by rnnlab, or add nothing new."""
    own = chosen.get("task") == "own module"
    shorter = chosen.get("limits") in ("4 batches", "a share", "overfit")
    unvalidated = chosen.get("limits") == "no validation"
    interval = chosen.get("validation", "")
    return not (
        (own and (chosen.get("engine") != "torch" or chosen.get("model") == "dropout, sgd"))
        or (own and chosen.get("schedule") == "plateau")
        or (chosen.get("engine") == "native" and chosen.get("model") == "64 bits")
        or (chosen.get("schedule") == "warm-up" and steps(chosen) <= 3)
        or (shorter and interval.startswith(("last", "every 2")) and interval != "every 2 epochs")
        or (unvalidated and chosen.get("stopping", "").startswith("early"))
        or (
            unvalidated
            and "onitor" in str(FACTORS["stock checkpoints"].get(chosen.get("stock checkpoints", "")))
        )
    )


def overrides(chosen: Configuration) -> list[str]:
    """The overrides for `rnnlab train`; of two for the same key the later counts."""
    words = [word for factor, level in chosen.items() for word in FACTORS[factor][level]]
    if chosen.get("task") == "own module":
        words = [word for word in words if not word.startswith("model.")]
    return list({word.partition("=")[0]: word for word in words}.values())


def every_combination() -> Iterator[Configuration]:
    """All combinations of the factors in ALL, which had errors before, on the smallest task."""
    for levels in itertools.product(*(FACTORS[factor] for factor in ALL)):
        chosen = plain() | dict(zip(ALL, levels, strict=True))
        warm = chosen | {"schedule": "warm-up"}
        yield warm if fits(warm) else chosen


def every_pair(seed: int = 0) -> Iterator[Configuration]:
    """Configurations in which each two levels of any two factors occur together at least once, if they can.

    Greedy: each configuration takes a missing pair, and fills the other factors so that it covers most other pairs.
    """
    chance = random.Random(seed)
    missing = {
        frozenset({(f, a), (g, b)})
        for f, g in itertools.combinations(FACTORS, 2)
        for a in FACTORS[f]
        for b in FACTORS[g]
    }
    while missing:
        first = min(missing, key=sorted)
        chosen: dict[str, Any] = dict(first)
        if (chosen := complete(chosen, missing, chance)) is not None:
            yield {factor: chosen[factor] for factor in FACTORS}
            missing -= {frozenset(pair) for pair in itertools.combinations(chosen.items(), 2)}
        missing.discard(first)


def complete(chosen: Configuration, missing: set[Any], chance: random.Random) -> Configuration | None:
    """The configuration with levels of all other factors; None where nothing fits."""
    rest = [factor for factor in FACTORS if factor not in chosen]
    chance.shuffle(rest)
    for factor in rest:
        fitting = [level for level in FACTORS[factor] if fits(chosen | {factor: level})]
        if not fitting:
            return None
        chance.shuffle(fitting)
        chosen[factor] = max(
            fitting,
            key=lambda level: sum(frozenset({(factor, level), other}) in missing for other in chosen.items()),
        )
    return chosen if fits(chosen) else None


def plain() -> Configuration:
    """The first level of every factor."""
    return {factor: next(iter(levels)) for factor, levels in FACTORS.items()}
