"""Checks that a sweep reads command lines like Hydra: `python scripts/sweep_grammar.py [lines=1000 seed=0]`.

Draws lines of overrides from Hydra's grammar (quotes, lists, repeated keys, additions, deletions, globs, ranges,
functions, escapes, interpolations). Hydra's basic sweeper splits each line, and Hydra composes each point. rnnlab's
planner must give the same configs in the same order, or both must refuse. Ranges without a value, which Hydra accepts
as no runs, are refused by rnnlab. Prints counts; exit code 1 with any difference.
"""

import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from options import parsed
from rnnlab.config import base_config, check, config_folder
from rnnlab.config.hydra_config import COMPOSING
from rnnlab.errors import UserError
from rnnlab.sweeps.grid import grid
from rnnlab.sweeps.planner import Planner

NUMBERS = (
    "1",
    "2",
    "16",
    "0x10",
    "1_000",
    "007",
    "1e1",
    "1.5",
    "-1",
    "+3",
    "1e234",
    "inf",
    "nan",
    ".5",
    "5.",
    "1e-3",
)
TEXTS = ("a", "a-b", "a b", "ä", "null", "true", "NULL", "True", "1e5x", "a/b", "a:b", "a@b", "a%", "~x", "2020-01-01",
         "v1.0", "x=y", "$x", "*", "a\\,b", "a\\=b", r"a\ b", "'q,r'", '"q=r"', "'it\\'s'", '"a # b"', "'  pad '",
         "'${name}'", "${name}", "${seed}", "???", "''", '""', "[a]", "{a:1}", "a$b", "…", "1e234", "007", "1_0",
         "08", "0b1", "1.", "on", "yes", "no", "None")  # fmt: skip
KEYS = {
    "seed": NUMBERS, "model.hidden_size": NUMBERS, "optimizer.lr": NUMBERS, "model.dropout": NUMBERS,
    "name": TEXTS + NUMBERS, "notes": TEXTS + NUMBERS, "data.n_points": NUMBERS, "trainer.gradient_clip_val": NUMBERS,
    "model.cell": ("elman", "gru", "lstm", "'gru'", "nope"), "model.num_layers": NUMBERS,
    "monitor": ("loss/val", "metric/mae", "nope"), "tags": ("[]", "[a]", "[a,b]", "['a b',c]", "[1,2]", "[a,[b]]"),
    "model.bidirectional": ("true", "false", "True", "yes", "1"),
}  # fmt: skip
GROUPS = {
    "optimizer": ("adam", "sgd", "adamw", "glob(*)", "glob(ada*)", "glob([a*,sgd],exclude=adamw)", "nope"),
    "scheduler": ("constant", "cosine", "glob(c*)", "step"), "callbacks": ("none", "default"),
    "model": ("forecaster", "char_lm"), "logger": ("tensorboard", "none", "[tensorboard,csv]"),
}  # fmt: skip
FUNCTIONS = ("choice({})", "sort({})", "sort({},reverse=true)", "shuffle({})", "tag(a,choice({}))", "int(choice({}))",
             "str(choice({}))", "float(choice({}))", "json_str(choice({}))", "extend_list({})", "bool({})",
             "int({})", "str({})")  # fmt: skip


def value(draw: random.Random, values: tuple[str, ...], some: bool = True) -> str:
    kind = draw.random()
    if kind < 0.35 or not some:
        return draw.choice(values)
    chosen = [draw.choice(values) for _ in range(draw.randint(1, 3))]
    if kind < 0.75:
        return draw.choice((",", ",", ", ", " , ")).join(chosen)
    if kind < 0.85:
        low = draw.randint(-2, 5)
        step = draw.choice(("", ",2", ",0.5", ",-1"))
        return draw.choice((f"range({low},{low + draw.randint(0, 4)}{step})", f"range({draw.randint(0, 4)})",
                            f"sort(range(0,{draw.randint(1, 3)}))"))  # fmt: skip
    return draw.choice(FUNCTIONS).format(",".join(chosen))


def line(draw: random.Random) -> list[str]:
    """One to four random overrides, as Hydra gets them from a shell."""
    found = []
    for _ in range(draw.randint(1, 4)):
        kind = draw.random()
        if kind < 0.15:
            key, values = draw.choice(list(GROUPS.items()))
            found.append(f"{draw.choice(('', '', '', '+'))}{key}={value(draw, values)}")
        elif kind < 0.23:
            found.append(draw.choice(("~callbacks", "~notes", "~logger", "~optimizer.lr", "~optimizer=adam", "~nope",
                                      "~callbacks.progress", "~tags=[]", "~seed=0")))  # fmt: skip
        elif kind < 0.31:
            key = draw.choice(("+extra", "+trainer.extra", "++notes", "++model.hidden_size", "+model.hidden_size",
                               "+trainer.enable_checkpointing", "++trainer.log_every_n_steps"))  # fmt: skip
            found.append(f"{key}={value(draw, NUMBERS)}")
        else:
            key, values = draw.choice(list(KEYS.items()))
            found.append(f"{key}={value(draw, values)}")
    return found


@contextmanager
def composing() -> Iterator[tuple]:
    """Hydra's config of a multirun, and its loader."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), job_name="rnnlab", version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        config = hydra.compose_config("config", [], run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        yield config, hydra.config_loader


def plain(config) -> dict:
    checked = check(config)
    checked.pop("sweep", None)
    return checked


def hydras(config, loader, overrides: list[str]) -> list[dict | None]:
    """A checked config for each of Hydra's points; None for a refused one. Raises Hydra's errors."""
    parser = OverridesParser.create(config_loader=loader)
    (batch,) = BasicSweeper.split_arguments(parser.parse_overrides(overrides), None)
    found: list[dict | None] = []
    for job in batch:
        try:
            found.append(plain(loader.load_sweep_config(config, job)))
        except (UserError, *COMPOSING):
            found.append(None)
    return found


def ours(config, loader, overrides: list[str]) -> list[dict | None]:
    """The same from rnnlab's planner."""
    points = grid(overrides, lambda key: bool(loader.get_group_options(key)), config_loader=loader)
    found: list[dict | None] = []
    planner = Planner(lambda o: loader.load_sweep_config(config, o), base_config, lambda asked: asked)
    for point in points:

        class One(list):
            swept = points.swept

        plan = planner.plan(One([point]))
        found.append(plan.runs[0].config if plan.runs else None)
    return found


def compared(config, loader, overrides: list[str]) -> tuple[str, int]:
    """("same", "refused", "no values" or a description of the difference; number of points)."""
    try:
        theirs: list[dict | None] | str = hydras(config, loader, overrides)
    except COMPOSING as error:
        theirs = str(error)
    try:
        own: list[dict | None] | str = ours(config, loader, overrides)
    except (UserError, *COMPOSING) as error:
        own = str(error)
    if isinstance(own, str):
        if theirs == [] and "it has no values" in own:
            return "no values", 0
        # rnnlab refuses a point that Hydra cannot compose when the sweep is planned
        return (
            ("refused", 0) if isinstance(theirs, str) or None in theirs else (f"only ours refuses: {own}", 0)
        )
    if isinstance(theirs, str):
        return f"only Hydra refuses: {theirs}", 0
    if any("shuffle" in override for override in overrides):
        own, theirs = sorted(own, key=repr), sorted(theirs, key=repr)
    if repr(own) != repr(theirs):  # distinguishes 1, 1.0 and True
        return f"{len(theirs)} points by Hydra, {len(own)} by us, not the same", 0
    return "same", len(own)


def main(words: list[str]) -> int:
    options, _ = parsed(__doc__, words, "lines seed")
    counts, wrong = Counter[str](), 0
    first = int(options.get("seed", 0))
    with composing() as (config, loader):
        for seed in range(first, first + int(options.get("lines", 1000))):
            overrides = line(random.Random(seed))
            how, points = compared(config, loader, overrides)
            if how not in ("same", "refused", "no values"):
                wrong += 1
                print(f"{seed}: {overrides}: {how}", flush=True)
            counts["points"] += points
            counts[how if len(how) < 10 else "differ"] += 1
    print(", ".join(f"{n:,} {name}" for name, n in counts.items()))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
