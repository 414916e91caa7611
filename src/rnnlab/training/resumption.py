"""Finds where an interrupted run resumes: the newest checkpoint that is intact and fits the files in its folder."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rnnlab.config.run_config import RunConfig
from rnnlab.errors import UserError
from rnnlab.runs.checksum import checksum_error
from rnnlab.runs.files import link_out, part_hard_links
from rnnlab.runs.load import read_checkpoint
from rnnlab.runs.manifest import recorded_threads
from rnnlab.runs.record import Manifest
from rnnlab.runs.run import Run
from rnnlab.runs.sources import stale

UNDER_WAY = ("queued", "running", "stopped", "pruned")
ON_THE_WAY: Final = "changed_on_the_way"  # the manifest's key for code that changed while the run was stopped


def checkpoint_of(run: Run, say: Callable[[str], None] = lambda line: None) -> Path | None:
    """The checkpoint from which a run resumes; None where it starts again.

    A run resumes if it was stopped or pruned, if its record says that it is running (that process is dead: this process
    holds the lock), or if it failed for an outside reason: a full disk, missing memory, a killed worker. A run that
    failed by its numbers or its code starts again, because from a checkpoint it would fail again.
    A checkpoint that is damaged, or that expects longer files than there are, is reported; then the one before it is
    used.
    """
    if not is_under_way(run):
        return None
    passed_over: list[str] = []
    for path in (run.last_checkpoint, run.previous_checkpoint):
        if not path.exists():
            continue
        if not (why := checksum_error(path) or _unfit(run, path)):
            if passed_over:
                say(f"{'; '.join(passed_over)}. The one before, {path.name}, is used.")
            return path
        passed_over.append(f"{path} {why}")
    if passed_over:
        say(f"{'; '.join(passed_over)}. The run begins afresh.")
    return None


def is_under_way(run: Run) -> bool:
    """Whether a run resumes, if it has a checkpoint. A run whose record is damaged does: its status is unknown."""
    try:
        record = run.record
    except UserError:
        return True
    return record.get("status") in UNDER_WAY or bool(record.get("can_go_on"))


def threads_before(run: Run) -> int | None:
    """How many threads a run that resumes has used so far; None for other runs."""
    return recorded_threads(manifest_before(run)) if is_under_way(run) else None


def manifest_before(run: Run) -> Manifest:
    """The manifest of a run that resumes; {} where it is damaged."""
    try:
        return run.manifest
    except UserError:
        return {}


def damage(run: Run) -> str:
    """Why a run's record or manifest cannot be read, in one line; "" where both can."""
    said: list[str] = []
    for read in (lambda: run.record, lambda: run.manifest):
        try:
            read()
        except UserError as error:
            said.append(str(error))
    return "; ".join(said)


def restore_config(run: Run, config: RunConfig, overrides: list[str], say: Callable[[str], None]) -> None:
    """Writes a finished run's config again where it is damaged: the same config led to this folder."""
    try:
        assert (run.config, run.overrides) is not None  # evaluating them reads both files
    except UserError as error:
        say(f"{error}. It is written anew.")
        run.write_config(config, overrides)


def _unfit(run: Run, path: Path) -> str:
    """Why a run cannot resume from a checkpoint whose checksum is right; "" where it can."""
    try:
        checkpoint = read_checkpoint(path)
    except UserError as error:
        return str(error).removeprefix(f"{path}: ")
    for name, length in lengths(checkpoint).items():
        file = run.folder / name
        size = file.stat().st_size if file.is_file() else 0
        if size < length:
            return f"was saved with {length:,} bytes of {name}, which now has {size:,}"
        known = digests(checkpoint).get(name)
        if known and known != _digest(file, length):
            return f"was saved with other content of {name}, which is damaged"
    return ""


def _digest(file: Path, length: int) -> str:
    try:
        with file.open("rb") as f:
            return hashlib.sha256(f.read(length)).hexdigest()
    except OSError:
        return ""


def lengths(checkpoint: dict[str, Any]) -> dict[str, int]:
    """{name: bytes} of the run's growing files when the checkpoint was taken."""
    return checkpoint.get("callbacks", {}).get("Recorder", {}).get("lengths", {})


def digests(checkpoint: dict[str, Any]) -> dict[str, str]:
    """{name: SHA-256} of the same files up to these lengths."""
    return checkpoint.get("callbacks", {}).get("Recorder", {}).get("digests", {})


def engine_label(engine: dict[str, str]) -> str:
    """The part of `engine_of` that decides bits: what runs the recurrence, and what takes the optimizer's steps."""
    alone = engine["name"] != "native" or engine["steps"] == "native"
    return engine["name"] if alone else f"{engine['name']} (steps in Python)"


def refuse_links(run: Run) -> None:
    """Raises UserError where a run that resumes would write through a symbolic link to a place outside its folder.

    A checkpoint may be a link, because it is replaced as a whole. A hard-linked file is replaced by a copy.
    """
    replaced = (run.last_checkpoint, run.previous_checkpoint, run.best_checkpoint)
    if link := link_out(run.folder, run.folder, except_for=replaced):
        raise UserError(
            f"{link} is a link out of the run's folder, which the training would write to; put what it leads to in its "
            "place (the whole folder may be a link), or rerun=true begins afresh"
        )
    part_hard_links(run.folder, except_for=replaced)


def refuse_other_engine(run: Run, path: Path, engine: str, allowed: str) -> None:
    """Raises UserError where another engine wrote the checkpoint: the bits of engines differ."""
    before = read_checkpoint(path).get("engine")
    if before and before != engine and allowed != "any":
        raise UserError(
            f"{run.folder} has been trained by the engine {before} and would go on with {engine}, which rounds "
            "differently; resume_engine=any goes on all the same, rerun=true begins afresh"
        )


def refuse_other_data(run: Run, content: str | None) -> None:
    """Raises UserError where the data differs from the data that the run has been trained on so far."""
    before = manifest_before(run).get("data_hash")
    if before and content and before != content:
        raise UserError(
            f"{run.folder} has been trained on other data (content {before[:12]}, now {content[:12]}) and cannot go "
            "on with this; rerun=true begins afresh"
        )


def changes_on_the_way(run: Run, config: RunConfig, say: Callable[[str], None]) -> dict[str, list[str]]:
    """The manifest's entry about code that changed while a run was stopped; also reported through `say`.

    Neither the old nor the new code alone reproduces such a run's bits.
    """
    before = manifest_before(run)
    changed = list(before.get(ON_THE_WAY, [])) + (fresh := stale(before, config) if before else [])
    changed += [] if before else ["the manifest was lost"]
    if fresh:
        say(f"{run.folder} goes on with other code: {', '.join(fresh)}; rerun=true begins afresh")
    return {ON_THE_WAY: changed} if changed else {}
