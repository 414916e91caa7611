"""A place where a training can be stopped: a copy of its folder at this moment, as kill -9 would leave it."""

import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remains import plain


@dataclass(frozen=True)
class Place:
    """`what` was about to happen, or had just happened; `copy` is the folder of all outputs at that instant."""

    what: str
    copy: Path

    def state(self) -> str:
        """A hash of everything that a resume can see: places with equal states resume equally, and one of them is
        enough.

        TensorBoard's file is left out, because it contains times.
        """
        import torch

        digest = hashlib.sha256()
        for path in sorted(p for p in self.copy.rglob("*") if p.is_file()):
            name = str(path.relative_to(self.copy))
            if path.suffix == ".ckpt":
                # weights_only=False is 10 times as fast, and the files are rnnlab's own
                found: Any = plain(torch.load(path, weights_only=False), self.copy.name)
                found.get("callbacks", {}).pop("Recorder", None)
            elif path.name == "run.json":
                found = '"queued"' in (text := path.read_text()), '"running"' in text, '"finished"' in text
            else:
                found = path.read_bytes() if path.suffix == ".csv" else ""
            digest.update(repr((name, found)).encode())
        return digest.hexdigest()


class Watch:
    """Watches a training in this process, and copies its outputs whenever a file is renamed or removed.

    It watches calls of the operating system (Python's audit events), and nothing of rnnlab, so that it sees everything
    that makes a checkpoint permanent. `every=False` keeps only places just after a new last.ckpt.
    """

    installed: "Watch | None" = None  # audit hooks cannot be removed, so there is only one

    def __init__(self, outputs: Path, copies: Path, every: bool = True) -> None:
        self.outputs, self.copies, self.every = outputs, copies, every
        self.places: list[Place] = []
        self.open, self.stop_at, self.commits = False, 0, 0

    @contextmanager
    def watching(self, stop_at: int = 0) -> Iterator[None]:
        """Watches while open. With `stop_at` it copies nothing, but sends SIGTERM at the `stop_at`-th last.ckpt."""
        if Watch.installed is None:
            sys.addaudithook(heard)
        Watch.installed = self
        before = signal.signal(signal.SIGTERM, lambda *_: None)  # until the training handles SIGTERM
        self.open, self.stop_at, self.commits = True, stop_at, 0
        try:
            yield
        finally:
            self.open = False
            signal.signal(signal.SIGTERM, before)

    def see(self, event: str, source: str, target: str) -> None:
        commits = event == "os.rename" and target.endswith("last.ckpt") and Path(source).name == "next.ckpt"
        self.commits += commits
        if self.stop_at:
            if commits and self.commits == self.stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return
        self.open = False  # copying causes events, too
        if self.every:
            self.keep(f"before {event} of {Path(target).name}")
        if commits:
            place = self.keep(f"behind checkpoint {self.commits}")
            inside = place.copy / Path(source).relative_to(self.outputs)
            inside.replace(place.copy / Path(target).relative_to(self.outputs))
        self.open = True

    def keep(self, what: str) -> Place:
        place = Place(what, self.copies / str(len(self.places)))
        # without the lock: its holder, this process, is alive, as a killed one would not be
        shutil.copytree(self.outputs, place.copy, symlinks=True, ignore=shutil.ignore_patterns(".claims"))
        self.places.append(place)
        return place


def heard(event: str, args: tuple[Any, ...]) -> None:
    watch = Watch.installed
    if watch is None or not watch.open or event not in ("os.rename", "os.remove"):
        return
    source, target = str(args[0]), str(args[1] if event == "os.rename" else args[0])
    if source.startswith(str(watch.outputs)):
        watch.see(event, source, target)
