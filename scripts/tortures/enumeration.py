"""Stops each small training at every step, and reports resumes that differ from the uninterrupted run."""

import multiprocessing
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from tortures import configurations
from tortures.resumption import Refused, Resumption, compose_once


class Case(NamedTuple):
    """A training to check. `short`: it is only killed after every checkpoint, not at every rename, nor by SIGTERM."""

    name: str
    overrides: list[str]
    first: list[str]
    short: bool


def cases(seed: int = 0, product: bool = True) -> Iterator[Case]:
    """All pairs of levels, longer runs, and (with `product`) all combinations of the factors in ALL."""
    for chosen in configurations.every_pair(seed):
        yield Case(told(chosen), configurations.overrides(chosen), [], False)
    for first, longer in configurations.LONGER:
        for task in ("series", "text"):
            for engine in configurations.FACTORS["engine"]:
                base = configurations.overrides({"task": task, "engine": engine, "stopping": ""})
                longer_words = ["resume={first}", *longer, "checkpoint.every_n_steps=1"]
                yield Case(f"{task}, {engine}, {' '.join(first)}, then {' '.join(longer)}",
                           longer_words, [*base, *first], True)  # fmt: skip
    for chosen in configurations.every_combination() if product else ():
        yield Case(told(chosen), configurations.overrides(chosen), [], True)


def told(chosen: dict[str, str]) -> str:
    return "; ".join(f"{factor}: {level}" for factor, level in chosen.items() if level)


def check(case: Case) -> tuple[Case, Counter[str], list[str]]:
    """Checks one training at all places to stop; the work of one process."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        at = Path(folder).resolve()
        shutil.copy(Path(__file__).with_name("configurations.py"), at / "text.txt")  # any text will do
        words = [word.replace("{text}", str(at / "text.txt")) for word in case.overrides]
        first = [word.replace("{text}", str(at / "text.txt")) for word in case.first]
        resumption = Resumption(at, words, first, every_place=not case.short, signals=not case.short)
        try:
            resumption.check()
        except Refused as refused:
            return case, Counter({"configurations refused": 1}), [f"refused: {refused}"]
    counts = Counter({"configurations": 1})
    return case, counts + resumption.counts, resumption.wrong


def check_all(asked: Iterable[Case], workers: int = 2) -> Iterator[tuple[Case, Counter[str], list[str]]]:
    """Checks cases in parallel processes that share imports; yields results as they come."""
    import rnnlab.native.program
    import rnnlab.training.train  # noqa: F401

    context: Any = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=compose_once) as pool:
        for done in as_completed([pool.submit(check, case) for case in asked]):
            yield done.result()
