"""A sweep as it goes: a table and one bar on a terminal, plain lines anywhere else."""

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rnnlab.sweeps import cost
from rnnlab.sweeps.plan import Planned
from rnnlab.sweeps.worker import Outcome
from rnnlab.terminal.console import Console
from rnnlab.terminal.screen import one_line

REDRAW = 0.25  # seconds
LINES = 10  # how many lines of progress a sweep prints without a terminal
ROWS = 8  # runs under way that are shown


class Watch:
    """Follows the runs of a sweep and shows them; all that is counted is counted here."""

    def __init__(
        self, due: list[Planned], mode: str, console: Console, name: Callable[[Planned], str]
    ) -> None:
        self.name = name
        self.console, self.sign = console, 1.0 if mode == "min" else -1.0
        self.total, self.ended_runs = len(due), Counter[str]()
        self.expected = {id(p): p.cost for p in due}
        self.all_cost = sum(self.expected.values()) or 1.0
        self.done_cost = 0.0
        self.steps = Steps(due)
        self.running: dict[int, tuple[Planned, float, int]] = {}
        self.best: tuple[float, Planned] | None = None
        self.begin, self.drawn, self.lines, self.said = time.monotonic(), 0.0, 0, ""
        self.live: Live | None = None

    def __enter__(self) -> "Watch":
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.live = Live(self.table(), console=self.console, auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live is not None:
            self.live.stop()

    # ------------------------------------------------------------------ what the conductor tells

    def began(self, planned: Planned) -> None:
        self.running[id(planned)] = (planned, time.monotonic(), 0)

    def at(self, planned: Planned, step: int) -> None:
        if id(planned) in self.running:
            self.running[id(planned)] = (planned, self.running[id(planned)][1], step)

    def ended(self, planned: Planned, outcome: Outcome) -> None:
        self.running.pop(id(planned), None)
        self.ended_runs[outcome.status] += 1
        self.done_cost += self.expected[id(planned)]
        self.steps.ended(planned, outcome)
        self.came(planned, outcome.record)
        if outcome.status == "failed":
            folder, why = planned.place.folder, outcome.why.splitlines()[0] if outcome.why else ""
            trace = folder / "traceback.txt"
            self.says(Text.assemble(("failed", "red"), f"  {one_line(folder.name)}"))
            self.says(f"        {why}")
            if trace.is_file():  # none where the folder is gone, or its disk full
                self.says(f"        {trace}")

    def came(self, planned: Planned, record: dict[str, Any]) -> None:
        """What a run came to, be it now or before."""
        value = record.get("results", {}).get("best", {}).get("value", math.nan)
        if not math.isnan(value) and (self.best is None or self.sign * value < self.sign * self.best[0]):
            self.best = (value, planned)

    def says(self, text: str | Text) -> None:
        self.console.print(text, soft_wrap=True)

    def tick(self) -> None:
        elapsed = time.monotonic()
        if self.live is not None:
            if elapsed - self.drawn >= REDRAW:
                self.drawn = elapsed
                self.live.update(self.table(), refresh=True)
        elif self.share * LINES >= self.lines + 1 and self.finished_runs < self.total:
            self.lines = int(self.share * LINES)
            if (said := self.summary()) != self.said:
                self.console.print(said, soft_wrap=True)
            self.said = said

    # ------------------------------------------------------------------ what it comes to

    @property
    def finished_runs(self) -> int:
        return sum(self.ended_runs.values())

    @property
    def share(self) -> float:
        """Of the work, by estimated time."""
        under_way = sum(
            self.expected[i] * min(1.0, step / max(1, self.steps.of(planned)))
            for i, (planned, _, step) in self.running.items()
        )
        return min(1.0, (self.done_cost + under_way) / self.all_cost)

    @property
    def left(self) -> str:
        elapsed, share = time.monotonic() - self.begin, self.share
        return f"{clock(elapsed * (1 - share) / share)} left" if share > 0.01 and elapsed > 1 else ""

    @property
    def best_so_far(self) -> str:
        assert self.best is not None
        value, planned = self.best
        return f"best {value:.5g}  {self.name(planned)}".rstrip()

    def summary(self) -> str:
        ended = self.finished_runs - self.ended_runs["stopped"]
        words = [f"{ended:,} of {self.total:,} runs"]
        words += [f"{self.ended_runs['failed']} failed"] if self.ended_runs["failed"] else []
        words += [self.best_so_far] if self.best else []
        words += [self.left] if self.left else []
        return "  ".join(words)

    def table(self) -> Group:
        bar = Progress(
            TextColumn("{task.fields[steps]} steps"),
            BarColumn(bar_width=40),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}  {task.fields[speed]}", style="dim"),
        )
        done, in_all = self.steps.done + sum(s for _, _, s in self.running.values()), self.steps.in_all
        speed = f"{done / max(time.monotonic() - self.begin, 1e-3):,.0f} steps/s" if done else ""
        bar.add_task("", total=in_all, completed=min(done, in_all), steps=f"{done:,}/{in_all:,}", left=self.left,
                     speed=speed)  # fmt: skip
        counts = Text("  ").join(
            [
                Text(f"{self.ended_runs['finished']:,} of {self.total:,} runs done", style="green"),
                Text(f"{len(self.running)} running", style="cyan"),
                Text(
                    f"{self.ended_runs['failed']} failed", style="red" if self.ended_runs["failed"] else "dim"
                ),
            ]
        )
        lines = (
            [counts, Text(one_line(self.best_so_far), style="bold")] if self.best is not None else [counts]
        )
        for said in lines:
            said.no_wrap, said.overflow = True, "ellipsis"
        rows = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for _ in range(4):
            rows.add_column(no_wrap=True, overflow="ellipsis")
        for planned, since, step in list(self.running.values())[:ROWS]:
            of = max(step, self.steps.of(planned))
            rows.add_row(
                self.name(planned) or planned.place.label,
                ProgressBar(total=of, completed=step, width=20, complete_style="cyan"),
                f"{step:,}/{of:,}",
                clock(time.monotonic() - since),
                style="dim",
            )
        return Group(*lines, bar, rows)


class Steps:
    """Optimizer steps of the whole sweep: estimated, and corrected by what finished runs took."""

    def __init__(self, due: list[Planned]) -> None:
        self._of: dict[int, int] = {}
        kinds: dict[str, int] = {}
        for planned in due:
            kind = planned.place.group
            if kind not in kinds:
                kinds[kind] = cost.steps(planned.config())
            self._of[id(planned)] = kinds[kind]
        self.in_all, self.done = sum(self._of.values()), 0

    def of(self, planned: Planned) -> int:
        return self._of[id(planned)]

    def ended(self, planned: Planned, outcome: Outcome) -> None:
        taken = outcome.record.get("results", {}).get("steps", self.of(planned))
        self.in_all += taken - self.of(planned)
        self.done += taken


def clock(seconds: float) -> str:
    """1:02:03, 2:03 or 3 s."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
