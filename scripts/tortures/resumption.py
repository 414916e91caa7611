"""Stops one small training at every possible place and resumes it, until no new state is found."""

import contextlib
import copy
import io
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from remains import mismatches
from tortures.place import Place, Watch


class Refused(Exception):
    """The configuration is invalid: even the uninterrupted run fails."""


class Resumption:
    """Checks the resumes of one training.

    The uninterrupted run keeps only its last checkpoint. Then the training is watched, with all its options. From each
    place where it could be killed, the same command resumes it, again under watch; each state that was not seen before
    is another place to stop. So chains of any length are covered. In addition, SIGTERM is sent at every checkpoint, and
    stops the training at the next step. Each end is compared with the uninterrupted one.

    `first` is trained before, and its folder is inserted into `overrides` as {first}: for a run that is trained longer.
    """

    def __init__(
        self,
        folder: Path,
        overrides: Sequence[str],
        first: Sequence[str] = (),
        every_place: bool = True,
        signals: bool = True,
        bound: int = 400,
    ) -> None:
        self.folder, self.outputs, self.whole = folder, folder / "outputs", folder / "whole"
        self.overrides, self.first = list(overrides), list(first)
        self.every_place, self.signals, self.bound = every_place, signals, bound
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.seen: set[str] = set()
        self.waiting: list[Place] = []
        self.checkpoints = 0  # of the uninterrupted training

    def check(self) -> None:
        self.train_whole()
        self.watched("unbroken, with checkpoints")
        while self.waiting and self.counts["resumes"] < self.bound:
            place = self.waiting.pop()
            self.clear()
            shutil.copytree(place.copy, self.outputs, symlinks=True)
            shutil.rmtree(place.copy)
            self.counts["resumes"] += 1
            self.watched(f"killed {place.what}")
        self.counts["places left out"] += len(self.waiting)
        if self.signals:
            self.interrupted()

    def train_whole(self) -> None:
        """Trains the uninterrupted run, at the same path as the others, then moves it away."""
        import rnnlab

        options = self.overrides
        try:
            if self.first:
                with quietly():
                    run = rnnlab.train(*self.first, f"paths.outputs={self.folder / 'first'}")
                self.overrides = [o.replace("{first}", str(run.folder)) for o in self.overrides]
                options = [*self.first, *(o for o in self.overrides if not o.startswith("resume="))]
            self.train(options, checkpoints=False)
        except Exception as error:
            raise Refused(f"{type(error).__name__}: {error}") from error
        self.outputs.rename(self.whole)

    def train(self, overrides: Sequence[str], checkpoints: bool = True) -> str:
        import rnnlab

        asked = [o for o in overrides if checkpoints or not o.startswith("checkpoint.every_n_steps=")]
        with quietly():
            # quiet is faster, and its output is not read
            run = rnnlab.train(*asked, f"paths.outputs={self.outputs}", quiet=True)
        return str(run.status)

    def clear(self) -> None:
        if self.outputs.exists():
            shutil.rmtree(self.outputs)

    def watched(self, story: str) -> None:
        """Resumes from the present outputs, to the end; compares the end, and keeps new places."""
        copies = self.folder / "copies" / str(self.counts["trainings"])
        self.counts["trainings"] += 1
        watch = Watch(self.outputs, copies, self.every_place and not self.seen)
        with watch.watching():
            sound = self.reach_end(story)
        self.checkpoints = self.checkpoints or watch.commits
        for place in watch.places if sound else ():  # after a mismatch all states would be new
            self.counts["places to stop"] += 1
            if (state := place.state()) in self.seen:
                continue
            self.seen.add(state)
            self.counts["different places"] += 1
            self.waiting.append(Place(f"{place.what}; {story}", place.copy))

    def interrupted(self) -> None:
        """Stops by SIGTERM at every checkpoint, and once more after the resume from there."""
        for at in range(1, self.checkpoints + 1):
            self.clear()
            story = ""
            for more in (at, 1):
                with Watch(self.outputs, self.folder / "copies").watching(stop_at=more):
                    status = self.train(self.overrides)
                story += f"SIGTERM at checkpoint {more}; "
                self.counts["signals"] += status == "stopped"
            self.counts["resumes"] += 1
            self.reach_end(story)

    def reach_end(self, story: str) -> bool:
        """Whether the resumed training ends like the uninterrupted one."""
        try:
            self.train(self.overrides)
        except Exception as error:
            self.wrong.append(f"{story}: {type(error).__name__}: {error}")
            return False
        self.counts["compared"] += 1
        found = [line.partition(": ")[2] for experiment in self.whole.iterdir()
                 for line in mismatches(experiment, self.outputs / experiment.name)]  # fmt: skip
        if found:
            self.wrong.append(f"{story}: {', '.join(found)}")
        return not found


def compose_once() -> None:
    """Makes Hydra compose each command only once, because composing takes longer than training one of these runs."""
    from rnnlab.config import hydra_config

    made, hydras = {}, hydra_config.hydra_compose

    def remembered(name: str, overrides: list[str]) -> Any:
        key = tuple(overrides)
        if key not in made:
            made[key] = hydras(name, overrides=overrides)
        return copy.deepcopy(made[key])

    hydra_config.hydra_compose = remembered


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield
