"""One small training, stopped at every place there is and gone on with, until nothing new is found."""

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
    """The configuration cannot be: not even the unbroken run goes."""


class Resumption:
    """Checks the resumes of one training.

    The unbroken run keeps no checkpoint but its last. Then the training is watched with all that it is asked for,
    and from each place where it could be killed it is gone on with by the same command, under watch again: a
    state that was not seen before is one more place to stop. So chains of any length are covered. SIGTERM is sent at
    every checkpoint besides, which stops at the step behind. Every end is compared with the unbroken one.

    `first` is trained before, and its folder given to `overrides` as {first}: a finished run that is trained longer.
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
        self.checkpoints = 0  # of the training that goes through at once

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
        """The run that nobody stops, under the same path as the others, then moved away."""
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
            run = rnnlab.train(
                *asked, f"paths.outputs={self.outputs}", quiet=True
            )  # nobody sees it, and faster
        return str(run.status)

    def clear(self) -> None:
        if self.outputs.exists():
            shutil.rmtree(self.outputs)

    def watched(self, story: str) -> None:
        """Trains on from what lies in the outputs, to the end; compares it, and keeps the places that are new."""
        copies = self.folder / "copies" / str(self.counts["trainings"])
        self.counts["trainings"] += 1
        watch = Watch(self.outputs, copies, self.every_place and not self.seen)
        with watch.watching():
            sound = self.reach_end(story)
        self.checkpoints = self.checkpoints or watch.commits
        for place in watch.places if sound else ():  # behind a mismatch everything is new
            self.counts["places to stop"] += 1
            if (state := place.state()) in self.seen:
                continue
            self.seen.add(state)
            self.counts["different places"] += 1
            self.waiting.append(Place(f"{place.what}; {story}", place.copy))

    def interrupted(self) -> None:
        """SIGTERM at every checkpoint, and once more on the way from there."""
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
        """Whether the training, gone on with, ends as the unbroken one."""
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
    """Composing a config takes longer than training one of these runs; from here on Hydra does it once for each."""
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
