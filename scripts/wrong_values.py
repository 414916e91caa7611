"""Checks that every wrong value gives a readable error: `python scripts/wrong_values.py [every=1 only=WORD]`.

Each key of the config and of every choice of a group, and each argument of torch's and Lightning's classes, gets each
of a list of values that are mostly wrong. `rnnlab train` must then train, or end with an error message and no
traceback: exit code 2 and nothing written, or 1 for a training that began and failed. Prints all other cases; exit code
1 if there is one.

every=N takes each N-th call, only=optimizer those whose key contains that word.
"""

import contextlib
import io
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from options import parsed
from rnnlab.cli import main
from rnnlab.config.schema import COMPONENTS, FIXED, NAMED, ConfigSchema
from rnnlab.config.stock import STOCK

VALUES = ("-1", "0", "1", "3", "-0.5", "0.3", "1e30", "nan", "inf", "9223372036854775808", "true", "null", "''", "x",
          "a/b", "é", "[]", "[1,2]", "[x]", "{}", "{a:1}", "1.5e-320")  # fmt: skip
SMALL = ("data=sine", "data.n_points=200", "model.hidden_size=4", "trainer.accelerator=cpu", "trainer.max_epochs=1",
         "model.engine=torch", "trainer.threads=1", "logger=none", "callbacks=none", "checkpoint.every_seconds=null",
         "sweep.workers=1")  # fmt: skip
CHOICES = {"chars": ("data=chars", "data.limit=3000", "data.segment=20", "data.batch_size=8"),
           "char_lm": ("data=chars", "data.limit=3000", "data.segment=20", "data.batch_size=8"),
           "tokens": ("data=tokens", "data.n_sequences=100"), "classifier": ("data=tokens", "data.n_sequences=100"),
           "series": ()}  # fmt: skip
# keys that decide where files go, or that mean another command
LEFT_OUT = ("paths.outputs", "resume", "trainer.profiler", "sweep.dry_run")
PLATFORMS = ("trainer.strategy",)  # may start other processes


def calls() -> Iterator[tuple[str, list[str]]]:
    """A name and the overrides of each call."""
    keys: list[tuple[str, str, tuple[str, ...]]] = []  # key, sign, what chooses its class
    keys += [(name, "", ()) for name in ConfigSchema.model_fields]
    keys += [
        (f"{section}.{name}", "++", ()) for section, schema in FIXED.items() for name in schema.model_fields
    ]
    for section, known in COMPONENTS.items():
        for schema in known.values():
            choice = CHOICES.get(schema.choice, (f"{section}={schema.choice}",))
            keys += [(f"{section}.{name}", "++", choice) for name in schema.model_fields if choice]
    for section, known in STOCK.items():
        for target, schema in known.items():
            node = f"{section}.c" if section in NAMED else section
            choice = (f"++{node}._target_={target}", *needed(section, target))
            keys += [(f"{node}.{name}", "++", choice) for name in schema.model_fields]
    for key, sign, choice in keys:
        if key in (*LEFT_OUT, *PLATFORMS):
            continue
        for value in VALUES:
            yield f"{' '.join(choice)} {key}={value}".strip(), [*choice, f"{sign}{key}={value}"]


def needed(section: str, target: str) -> tuple[str, ...]:
    """Overrides that a class needs: its required arguments, and removals of the default choice's arguments."""
    if section == "scheduler":
        name = target.rpartition(".")[2]
        asked = {"CosineAnnealingLR": "T_max=9", "CosineAnnealingWarmRestarts": "T_0=9",
                 "MultiStepLR": "milestones=[2]", "OneCycleLR": "max_lr=0.1", "CyclicLR": "base_lr=0.1"}  # fmt: skip
        more = {"OneCycleLR": ("++scheduler.total_steps=null",), "CyclicLR": ("++scheduler.max_lr=0.2",)}.get(
            name, ()
        )
        return ("~scheduler.warmup_steps", *((f"++scheduler.{asked[name]}",) if name in asked else ()), *more)
    if section == "optimizer":
        return ("~optimizer.betas", "~optimizer.eps", "~optimizer.weight_decay")
    if target.endswith("StochasticWeightAveraging"):
        return ("++callbacks.c.swa_lrs=0.01",)
    return ("++logger.c.save_dir='{run_folder}'",) if section == "logger" else ()


def told(overrides: list[str]) -> str:
    """How a call ended: "trained", "refused", "failed", or a description of a forbidden result."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        asked = {override.lstrip("+~").partition("=")[0] for override in overrides}
        words = [word for word in SMALL if word.partition("=")[0] not in asked]
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = main(["train", *words, *overrides, f"paths.outputs={folder}"])
        except BaseException as error:
            return f"raised {type(error).__name__}: {error}"
        left = list(Path(folder).rglob("*"))
    text = said.getvalue()
    if "Traceback" in text:
        return f"a trace, {text.strip().splitlines()[-1]}"
    if code == 2 and left:
        return f"refused, and left {left[0].name}: {text.strip()[:300]}"
    if code in (0, 2):
        return ("trained", "", "refused")[code]
    one_line = (
        len([line for line in text.splitlines() if "its trace is in" in line or "the loss " in line]) == 1
    )
    return "failed" if code == 1 and one_line else f"exit code {code}: {text.strip()[-300:]}"


def tried(every: int = 1, only: str = "", start: int = 0) -> tuple[Counter[str], list[str]]:
    """Counts of how calls ended, and a line for each forbidden result."""
    ended, wrong = Counter[str](), []
    found = [call for call in calls() if only in call[0]]
    for name, overrides in found[start::every]:
        how = told(overrides)
        ended[how if how in ("trained", "refused", "failed") else "wrong"] += 1
        if how not in ("trained", "refused", "failed"):
            wrong.append(f"{name}: {how}")
    return ended, wrong


if __name__ == "__main__":
    options, _ = parsed(__doc__, sys.argv[1:], "every only start")
    ended, wrong = tried(int(options.get("every", 1)), options.get("only", ""), int(options.get("start", 0)))
    print(*wrong, sep="\n")
    print(", ".join(f"{n:,} {how}" for how, n in ended.items()))
    sys.exit(bool(wrong))
