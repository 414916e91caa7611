"""`Run` and `Runs`: one run, or several, as a notebook or a script uses them."""

from collections import UserList
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.api.frame import frame
from rnnlab.errors import UserError
from rnnlab.runs import run as folder

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from lightning.pytorch import LightningModule

    from rnnlab.api.evaluation import Evaluation
    from rnnlab.api.forecast import Forecast

    Folder = Path
else:
    Folder = type(Path())


class Figures(Folder):
    """The folder of a run's figures. A notebook shows the pictures in it."""

    def _ipython_display_(self) -> None:
        from rnnlab.terminal.notebook import show_pictures

        show_pictures(self)


@dataclass(frozen=True)
class Run(folder.Run):
    """One run: its folder, its trained model and its results. With `trust`, any code that its config names may run.

        run = rnnlab.train("experiment=sine")
        run.results["test"], run.metrics["loss/val"], run.config, run.model
        run.evaluate(), run.predict(), run.forecast(200), run.to_frame()

    All methods use the best weights, on the CPU, and raise UserError for a request that is not possible. A notebook
    shows a run as its table of results.
    """

    trust: bool = field(default=False, repr=False, compare=False)

    @cached_property
    def model(self) -> "LightningModule":
        """The trained LightningModule with its best weights, in evaluation mode on the CPU."""
        from rnnlab.runs.load import load_model

        return load_model(self, self.trust)

    def evaluate(
        self, *overrides: str, split: str | None = None, by: str | None = None, backtest: int | None = None
    ) -> "Evaluation":
        """Metrics, baselines and floor, as `rnnlab evaluate` shows them. They are those of the test part, of `split`
        (train, val, test, all), or of other data (`run.evaluate("data.path=new.csv")`).

        A forecaster's errors are also broken down `by` step, target or series, or over `backtest` origins. Raises
        UserError for a wrong override, a part that does not exist, and a breakdown that is not possible.
        """
        from rnnlab.api.evaluation import evaluate

        return evaluate(self, overrides, split, self.trust, by=by, backtest=backtest)

    def predict(self, *overrides: Any, split: str | None = None) -> "np.ndarray":
        """Predictions for each sequence of the part that `evaluate` would score, or for an array x.

        `run.predict()`, `run.predict("data.path=new.csv")`, `run.predict(x)`. For a series: forecasts (rows, horizon,
        targets), from x (rows, steps, inputs), both in the units of the data. For labelled sequences: probabilities
        (rows, classes), from x (rows, steps). For a text: probabilities of each next character (rows, steps,
        vocabulary), from x (rows, steps). Raises UserError for an x of another shape, and where `evaluate` does.
        """
        from rnnlab.api.prediction import predict, predict_on

        given = [one for one in overrides if not isinstance(one, str)]
        if len(overrides) == 1 and not given and "=" not in overrides[0]:
            raise UserError(
                "predict: takes an array of numbers, or data.KEY=VALUE; a text as the places of its characters in "
                "run.model.spec['vocabulary']"
            )
        if not given:
            return predict(self, overrides, split, self.trust)
        if len(overrides) > 1 or split:
            raise UserError("predict: either an array alone, or overrides and a split")
        return predict_on(self, given[0], self.trust)

    def generate(self, prompt: str | None = None, length: int = 500, **options: Any) -> str:
        """The prompt and `length` characters after it; `temperature`, `top_k`, `top_p` and `seed` as in
        `rnnlab generate`. Raises UserError for a run that is not a character model.
        """
        from rnnlab.api.generation import generate

        begin, drawn = generate(self, prompt, length, trust=self.trust, **options)
        return begin + "".join(drawn)

    def forecast(
        self,
        horizon: int | None = None,
        *overrides: str,
        start: int | None = None,
        data: str | Path | None = None,
        series: str | None = None,
    ) -> "Forecast":
        """A forecast in which the model reads its own output, as in `rnnlab forecast`. A notebook draws it.

        The default `horizon` is as long as model and data allow, at most 200 steps. The forecast begins `start` steps
        before the end of the data: `horizon` steps by default, 0 for a new file `data`. `series` names one of several.
        Raises UserError for a run that is not a forecaster, and for data that does not fit its model.
        """
        from rnnlab.api.forecast import forecast

        return forecast(
            self, horizon, overrides, start=start, data_file=data, series=series, trust=self.trust
        )

    def resume(self, *overrides: str, quiet: bool = False) -> "Run":
        """Continues a stopped run. With overrides, such as `run.resume("trainer.max_epochs=200")`, trains a finished
        run for longer, as a new run. The numbers are those of a training that never stopped. Raises UserError for a
        finished run without overrides, and for a stopped run with overrides.
        """
        from rnnlab.api.resumption import resume

        return Run(resume(self, overrides, quiet=quiet).folder, self.trust)

    @property
    def figures(self) -> Figures:
        """The folder figures/; a notebook shows its pictures. `draw()` draws them again."""
        return Figures(super().figures)

    def draw(self) -> Figures:
        """Draws rnnlab's figures of a finished run and writes its sample, as the training does at its end. Figures of
        callbacks of your own are only drawn by a training.
        """
        from rnnlab.figures.finished import draw_finished
        from rnnlab.runs.data import load_data
        from rnnlab.runs.files import link_out, part_hard_links

        for place in (self.figures, self.samples):
            if link := link_out(place, self.folder):
                raise UserError(f"{link} is a link out of the run's folder, where nothing is drawn")
            part_hard_links(place)
        draw_finished(self, self.model, load_data(self, getattr(self.model, "spec", {}), trust=self.trust))
        return self.figures

    def to_frame(self) -> "pandas.DataFrame":
        """All scalars of the training as a pandas DataFrame: a row for each step, a column for each metric, NaN where a
        metric has no value at a step.
        """
        import numpy as np

        steps = np.unique(np.concatenate([steps for steps, _ in self.metrics.values()] or [np.zeros(0, int)]))
        columns = {}
        for name, (at, values) in self.metrics.items():
            columns[name] = np.full(len(steps), np.nan)
            columns[name][np.searchsorted(steps, at)] = values
        found = frame(columns, steps)
        found.index.name = "step"
        return found

    def _repr_html_(self) -> str:
        from rnnlab.terminal.console import html
        from rnnlab.terminal.run import summary

        return html(*summary(self))


class Runs(UserList[Run]):
    """A list of runs. A notebook shows their leaderboard."""

    @property
    def leaderboard(self) -> "Board":
        """The leaderboard, best row first; runs that differ only by their seed are one row."""
        return Board(self)

    @property
    def best(self) -> Run:
        """The run with the best score, by the runs' own `mode`; runs that failed or have no score do not count.

        Raises UserError where no run has a score, or where the scores cannot be compared.
        """
        board = self.leaderboard.board
        if not board.rows:
            raise UserError("best: none of these runs has a score")
        if not board.compares or board.groups > 1 or any(row.origins for row in board.rows):
            raise UserError(
                "best: these runs differ in data, targets or metrics; their scores do not compare"
            )
        best = board.rank_entries([entry for row in board.rows for entry in row.entries])[0].folder
        return next(run for run in self if run.folder == best)

    def to_frame(self) -> "pandas.DataFrame":
        """A pandas DataFrame: for each run a row with the settings that differ, status, scores, time and folder."""
        return frame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `to_frame` as dicts. Runs with damaged files are left out, with a warning."""
        from rnnlab.report.entry import Entry
        from rnnlab.runs.config_diff import config_diffs

        sound = list(folder.legible(self, lambda run: (run.config, run.record)))
        found = []
        for (run, (config, record)), differs in zip(
            sound, config_diffs([config for _, (config, _) in sound]), strict=True
        ):
            entry = Entry(run.folder, record)
            about = {"run": run.folder.name} | differs | {"seed": config.get("seed")}
            about |= {"status": record.get("status"), "best_step": entry.best.get("step")}
            about |= {entry.monitor: entry.value} | entry.scores()
            found.append(about | {"seconds": record.get("seconds"), "folder": str(run.folder)})
        return found

    def _repr_html_(self) -> str:
        return self.leaderboard._repr_html_()


class Board:
    """A leaderboard, which a notebook shows; `board.rows` are the rows of `rnnlab report`."""

    def __init__(self, runs: Iterable[Run]) -> None:
        from rnnlab.report.leaderboard import of_runs

        self.board = of_runs(list(runs))
        self.rows, self.metric = self.board.rows, self.board.metric

    def to_frame(self) -> "pandas.DataFrame":
        """A pandas DataFrame with the columns of `rnnlab report --csv`."""
        return frame(self.board.records())

    def lines(self) -> list[Any]:
        from rnnlab.report.entry import why_no_score
        from rnnlab.report.table import table

        others = [
            f"{e.record.get('status', '?'):9}{e.folder.name}  {why_no_score(e)}" for e in self.board.others
        ]
        return [*self.board.notes, *([table(self.board)] if self.rows else []), *others[:5]]

    def __repr__(self) -> str:
        from rnnlab.terminal.console import text

        return text(*self.lines(), width=120)

    def _repr_html_(self) -> str:
        from rnnlab.terminal.console import html

        return html(*self.lines(), width=120)
