"""Shows a sweep while it runs: a table and a bar on a terminal, plain lines anywhere else."""

import math
import time
from collections import Counter
from collections.abc import Callable

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rnnlab.config.run_config import Part, as_dict
from rnnlab.errors import counted
from rnnlab.runs.record import EARLY, ENDED, Record
from rnnlab.sweeps.estimate import guessed_steps
from rnnlab.sweeps.job import Outcome
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.scheduler import View
from rnnlab.terminal.console import Console, html
from rnnlab.terminal.screen import one_line

REDRAW = 0.25  # seconds between two updates of the table
LINES = 10  # progress lines that a sweep prints without a terminal
ROWS = 8  # the most running runs in the table


def _comparable(due: list[Planned]) -> bool:
    """Whether all runs are scored on the same targets and in the same unit, so that a single value is the best."""
    configs = [planned.config for planned in due]

    def differ(section: str, what: Callable[[Part], object]) -> bool:
        shared = {id(config[section]): config[section] for config in map(as_dict, configs)}
        return len({repr(what(values)) for values in shared.values()}) > 1

    return not (
        differ("data", lambda d: {k: v for k, v in d.items() if k not in ("seed", "batch_size", "folder")})
        or differ("model", lambda m: [m.get(k) for k in ("_target_", "loss", "huber_delta", "quantiles")])
        or len({config["monitor"] for config in configs}) > 1
    )


class LiveView(View[Planned]):
    """Counts the runs of a sweep and shows them."""

    def __init__(
        self,
        due: list[Planned],
        mode: str,
        console: Console,
        name: Callable[[Planned], str],
        expected: int = 0,  # the number of runs, where not all are known at the start
    ) -> None:
        self.name, self.expected = name, expected
        self.console, self.sign = console, 1.0 if mode == "min" else -1.0
        self.total, self.counts = expected or len(due), Counter[str]()
        self.seconds = {id(p): p.cost for p in due}
        self.total_seconds = sum(self.seconds.values()) or 1.0
        self.done_seconds = self.running_seconds = 0.0  # guessed seconds that are done
        self.steps = Steps(due)
        self.running: dict[int, tuple[Planned, float, int]] = {}
        self.over: dict[int, str] = {}  # {run: the status with which it has ended}
        self.best: tuple[float, Planned] | None = None
        self.comparable = _comparable(due)
        self.begin, self.drawn, self.lines, self.printed = time.monotonic(), 0.0, 0, ""
        self.live: Live | None = None

    def __enter__(self) -> "LiveView":
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.live = Live(self.table(), console=self.console, auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()
        if self.console.block is not None:
            self.console.block.move("")

    # ------------------------------------------------------------------ what the scheduler reports

    def added(self, planned: Planned) -> None:
        """A further run, or one that goes on: halving stops a run at each rung."""
        if status := self.over.pop(id(planned), ""):
            self.counts[status] -= 1
            self.done_seconds -= self.seconds[id(planned)]
        self.seconds[id(planned)] = planned.cost
        self.steps.add(planned)
        mean = sum(self.seconds.values()) / len(self.seconds)
        self.total_seconds = mean * max(self.expected, len(self.seconds))

    def started(self, planned: Planned) -> None:
        self.progressed(planned, 0)  # resets the progress, if another worker had the run before
        self.running[id(planned)] = (planned, time.monotonic(), 0)

    def progressed(self, planned: Planned, step: int) -> None:
        if id(planned) in self.running:
            _, since, before = self.running[id(planned)]
            self.running_seconds += self._seconds_of(planned, step) - self._seconds_of(planned, before)
            self.running[id(planned)] = (planned, since, step)

    def _seconds_of(self, planned: Planned, step: int) -> float:
        return self.seconds[id(planned)] * min(1.0, step / max(1, self.steps.of(planned)))

    def ended(self, planned: Planned, outcome: Outcome) -> None:
        if running := self.running.pop(id(planned), None):
            self.running_seconds -= self._seconds_of(planned, running[2])
        if not self.running:
            self.running_seconds = 0.0  # clears rounding errors
        self.counts[outcome.status] += 1
        self.over[id(planned)] = outcome.status
        self.done_seconds += self.seconds[id(planned)]
        self.steps.ended(planned, outcome)
        self.compare(planned, outcome.record)
        if outcome.status == "failed":
            folder, why = planned.place.folder, outcome.why.splitlines()[0] if outcome.why else ""
            trace = folder / "traceback.txt"
            self.print(Text.assemble(("failed", "red"), f"  {one_line(folder.name)}"))
            self.print(f"        {why}")
            if trace.is_file():  # missing where the folder was deleted or its disk is full
                self.print(f"        {trace}")

    def compare(self, planned: Planned, record: Record) -> None:
        """Keeps the best result; also called for runs that had finished before."""
        value = record.get("results", {}).get("best", {}).get("value", math.nan)
        if (
            self.comparable
            and not math.isnan(value)
            and (self.best is None or self.sign * value < self.sign * self.best[0])
        ):
            self.best = (value, planned)

    def print(self, text: str | Text) -> None:
        self.console.print(text, soft_wrap=True)

    def tick(self) -> None:
        now = time.monotonic()
        if self.console.block is not None and not self.console.quiet:
            if now - self.drawn >= REDRAW:
                self.drawn = now
                self.console.block.move(html(self.table(), width=self.console.width), self.summary())
        elif self.live is not None:
            if now - self.drawn >= REDRAW:
                self.drawn = now
                self.live.update(self.table(), refresh=True)
        elif self.share * LINES >= self.lines + 1 and self.counts.total() < self.total:
            self.lines = int(self.share * LINES)
            if (text := self.summary()) != self.printed:
                self.console.print(text, soft_wrap=True)
            self.printed = text

    # ------------------------------------------------------------------ what is shown

    @property
    def share(self) -> float:
        """The completed share of the work, in guessed seconds."""
        return min(1.0, (self.done_seconds + self.running_seconds) / self.total_seconds)

    @property
    def time_left(self) -> str:
        elapsed, share = time.monotonic() - self.begin, self.share
        return f"{clock(elapsed * (1 - share) / share)} left" if share > 0.01 and elapsed > 1 else ""

    @property
    def best_so_far(self) -> str:
        assert self.best is not None
        value, planned = self.best
        return f"best {value:.5g}  {self.name(planned)}".rstrip()

    def summary(self) -> str:
        ended = self.counts.total() - self.counts["stopped"]
        words = [f"{ended:,} of {counted(self.total, 'run')}"]
        words += self._shorter()
        words += [f"{self.counts['failed']} failed"] if self.counts["failed"] else []
        words += [self.best_so_far] if self.best else []
        words += [self.time_left] if self.time_left else []
        return "  ".join(words)

    def _shorter(self) -> list[str]:
        """How many runs ended before their limit, by status."""
        return [f"{self.counts[status]:,} {status}" for status in (EARLY, "pruned") if self.counts[status]]

    def table(self) -> Group:
        bar = Progress(
            TextColumn("{task.fields[steps]} steps"),
            BarColumn(bar_width=40),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}  {task.fields[speed]}", style="dim"),
        )
        done, total = self.steps.done + sum(s for _, _, s in self.running.values()), self.steps.total
        speed = f"{done / max(time.monotonic() - self.begin, 1e-3):,.0f} steps/s" if done else ""
        bar.add_task("", total=total, completed=min(done, total), steps=f"{done:,}/{total:,}", left=self.time_left,
                     speed=speed)  # fmt: skip
        counts = Text("  ").join(
            [
                Text(
                    f"{sum(self.counts[status] for status in ENDED):,} of {counted(self.total, 'run')} done",
                    style="green",
                ),
                *map(Text, self._shorter()),
                Text(f"{len(self.running)} running", style="cyan"),
                Text(f"{self.counts['failed']} failed", style="red" if self.counts["failed"] else "dim"),
            ]
        )
        lines = (
            [counts, Text(one_line(self.best_so_far), style="bold")] if self.best is not None else [counts]
        )
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        rows = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for _ in range(3):
            rows.add_column(no_wrap=True)
        rows.add_column()  # this column never narrows: its text is cut instead
        for planned, since, step in list(self.running.values())[:ROWS]:
            of = max(step, self.steps.of(planned))
            rows.add_row(
                ProgressBar(total=of, completed=step, width=20, complete_style="cyan"),
                f"{step:,}/{of:,}",
                clock(time.monotonic() - since),
                Text(one_line(self.name(planned) or planned.place.label), no_wrap=True, overflow="ellipsis"),
                style="dim",
            )
        return Group(*lines, bar, rows)


class Steps:
    """Counts the optimizer steps of the whole sweep: guessed, and corrected when a run ends."""

    def __init__(self, due: list[Planned]) -> None:
        self._of: dict[int, int] = {}
        self._kinds: dict[str, int] = {}
        self._taken: dict[int, int] = {}  # by the runs that have ended
        self.total, self.done = 0, 0
        for planned in due:
            self.add(planned)

    def add(self, planned: Planned) -> None:
        kind = planned.place.group
        if kind not in self._kinds:
            self._kinds[kind] = guessed_steps(planned.config)
        taken = self._taken.pop(id(planned), None)  # where the run goes on
        self.total += self._kinds[kind] - (self._of.get(id(planned), 0) if taken is None else taken)
        self.done -= taken or 0
        self._of[id(planned)] = self._kinds[kind]

    def of(self, planned: Planned) -> int:
        return self._of[id(planned)]

    def ended(self, planned: Planned, outcome: Outcome) -> None:
        taken = outcome.record.get("results", {}).get("steps", self.of(planned))
        self.total += taken - self.of(planned)
        self.done += taken
        self._taken[id(planned)] = taken


def clock(seconds: float) -> str:
    """A duration as text: 1:02:03, 2:03 or 3 s."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
