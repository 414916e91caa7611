"""One run, as far as a leaderboard looks at it."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rnnlab.errors import UserError, counted
from rnnlab.report import comparability
from rnnlab.report.comparability import References
from rnnlab.runs.record import ENDED, Record, Scored
from rnnlab.runs.run import Run

LOSS = "loss/val"


def spelled(label: str) -> str:
    """The label of a folder's name ("cell-gru+lr-0.01") in the spelling of a command: "cell=gru lr=0.01"."""
    return " ".join(part.replace("-", "=", 1) for part in label.split("+"))


@dataclass(frozen=True)
class Entry:
    """What a leaderboard uses of one run."""

    folder: Path
    record: Record

    @property
    def group(self) -> str:
        """A key that is equal for runs that differ only in their seed."""
        return self.record.get("group") or self.folder.name

    @property
    def best(self) -> Scored:
        return self.record.get("results", {}).get("best", {})

    @property
    def value(self) -> float:
        """The best value of the monitored metric."""
        return self.best.get("value", float("nan"))

    @property
    def monitor(self) -> str:
        return self.best.get("monitor", LOSS)

    def at_best(self, metric: str) -> float:
        """A metric at the best validation; NaN where it was not measured."""
        if metric == self.monitor:
            return self.value
        return self.best.get("metrics", {}).get(metric, float("nan"))

    @property
    def references(self) -> References:
        return comparability.references_of(self.record.get("results", {}))

    @property
    def is_named_by_training(self) -> bool:
        """Whether the folder still has its original name, which ends with the run's id."""
        return self.folder.name.endswith(f"-{self.record.get('id', '')}")

    @cached_property
    def seed(self) -> str:
        """The seed, from the folder's name, without reading a file; from the config where the folder was renamed."""
        if self.record.get("id") and not self.is_named_by_training:
            with suppress(UserError):
                if (seed := Run(self.folder).config.get("seed")) is not None:
                    return str(seed)
        return self.folder.name.rpartition("seed-")[2].partition("-")[0]

    def scores(self) -> dict[str, float]:
        """{"val/mse": ..., "test/mse": ...} at the best validation."""
        results = self.record.get("results", {})
        best = results.get("best", {}).get("metrics", {})
        scores = {f"val/{k.removeprefix('metric/')}": v for k, v in best.items() if k.startswith("metric/")}
        return scores | {f"test/{k}": v for k, v in results.get("test", {}).items() if k != "loss"}

    @property
    def speed(self) -> float:
        """Optimizer steps per second, including evaluation."""
        seconds = self.record.get("seconds") or float("nan")
        return self.record.get("results", {}).get("steps", 0) / seconds


def why_no_score(entry: Entry) -> str:
    """Why a run is not on the board, in a line; "" where its status says enough."""
    if why := str(entry.record.get("why") or "").partition("\n")[0]:
        return why
    if entry.record.get("status") not in ENDED:
        return ""
    if "value" not in entry.best:
        return f"it ended after {counted(entry.record.get('results', {}).get('steps', 0), 'step')} without a validation"
    return f"its best {entry.monitor} is {entry.value}"
