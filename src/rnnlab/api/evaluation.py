"""Evaluation of a run's best weights, on its own data or other data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnlab.api.arguments import texts, whole
from rnnlab.api.frame import frame
from rnnlab.api.part import TITLES, as_trained, is_new, part, plain_part, quietly, warn_of_changed_code
from rnnlab.errors import UserError, nearest, warn
from rnnlab.runs.run import Run
from rnnlab.runs.sources import why_stale

if TYPE_CHECKING:
    import pandas

KNOWN = 0.01  # from this share of a new text on that the training text holds, too, there is a warning
BY = ("step", "target", "series")


@dataclass(frozen=True)
class Evaluation:
    """`metrics` of the run's best weights, `baselines` {name: metrics}, `floor` and `facts`, on the part `split`.

    `data` names the data: its content hash and the overrides. A notebook shows an evaluation as a table.
    """

    run: str
    step: int | None
    split: str
    data: dict[str, Any]
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    floor: dict[str, float]
    facts: dict[str, float]
    by: str | None = None
    """By what a forecaster's errors are broken down: step, target, series or origin."""
    breakdown: dict[str, dict[str, dict[str, float]]] | None = None
    """{step, target, series or origin: {metric: {predictor: value}}}, see `rnnlab.tasks.breakdown`."""

    def rows(self) -> dict[str, dict[str, float]]:
        """{predictor: metrics}: the run first, then baselines and floor."""
        metrics = dict(self.metrics)
        if len(metrics) > 1:
            metrics.pop("loss", None)
        step = "" if self.step is None else f", step {self.step:,}"
        floor = {"floor": self.floor} if self.floor else {}
        return {f"the run{step}": metrics} | self.baselines | floor

    def lines(self) -> list[Any]:
        """What a terminal shows: the table of scores, then a line for each fact."""
        from rnnlab.terminal.scores import number, score_table

        rows = self.rows()
        styled = [
            (name, {self.split: scores}, "dim" if i else "bold")
            for i, (name, scores) in enumerate(rows.items())
        ]
        facts = dict(self.facts)
        if (noise := facts.get("realised_noise")) and "mse" in self.metrics:
            facts["mse over realised noise"] = self.metrics["mse"] / noise
        said = [
            f"{name.replace('_', ' ')}: {number(value) if isinstance(value, float) else f'{value:,}'}"
            for name, value in facts.items()
        ]
        table = score_table({TITLES[self.split]: self.split}, list(next(iter(rows.values()))), styled)
        return [table, *self._apart(), *said]

    def _apart(self) -> list[Any]:
        from rnnlab.terminal.scores import Row, score_table

        if not self.breakdown:
            return []
        lines: list[Row] = [(label, row, "bold" if label in ("mean", "std") else "")
                            for label, row in self.breakdown.items()]  # fmt: skip
        whose = list(next(iter(self.breakdown.values()))["mse"])
        return ["", f"by {self.by}", score_table({"mse": "mse", "mae": "mae"}, whose, lines)]

    def to_frame(self) -> "pandas.DataFrame":
        """A pandas DataFrame: a row for the run and each baseline, a column for each metric."""
        return frame(list(self.rows().values()), list(self.rows()))

    def _repr_html_(self) -> str:
        from rnnlab.terminal.console import html

        return html(*self.lines())


def evaluate(
    run: Run,
    overrides: Sequence[str] = (),
    split: str | None = None,
    trust: bool = False,
    *,
    by: str | None = None,
    backtest: int | None = None,
) -> Evaluation:
    """Evaluates a run's best weights on a part of its own or other data; `split` None: see `rnnlab evaluate --help`.

    A forecaster's errors are also broken down `by` "step", "target" or "series", or over `backtest` origins.
    Raises UserError for a wrong override, a part that does not exist, and a breakdown that is not possible.
    """
    from rnnlab.api.trained_windows import warn_of_known_rows, warn_of_training
    from rnnlab.runs.load import load_model
    from rnnlab.tasks import Forecaster, Task
    from rnnlab.tasks.breakdown import breakdown, spread
    from rnnlab.tasks.evaluation import evaluate as evaluate_task

    if by not in (None, *BY):
        raise UserError(f"--by {by}: no such choice.{nearest(str(by), BY)}")
    backtest = whole("--backtest", backtest)
    if backtest is not None and backtest < 1:
        raise UserError(f"--backtest {backtest}: must be at least 1")
    if by and backtest:
        raise UserError("--by and --backtest: one at a time")
    task, overrides = load_model(run, trust), texts(overrides)
    apart: Any = by or ("origin" if backtest else None)
    if apart and not isinstance(task, Forecaster):
        raise UserError(
            f"{run.folder} holds a {type(task).__name__}; --by and --backtest take apart a Forecaster's errors alone"
        )
    if not isinstance(task, Task):
        return evaluate_plain(run, task, overrides, split, trust)
    as_trained(run, task)
    data, split, overrides = part(run, task, overrides, split, trust)
    at: Any = "test" if split == "all" else split
    new = is_new(run, overrides)
    if split == "all" and new:
        learned_from(run, task, data)
        warn_of_known_rows(run, task, data, trust)
    if split != "all" and not new:
        warn_of_training(run, task, data, at, overrides, trust)
    table = None
    if isinstance(task, Forecaster) and apart:
        table = breakdown(task, data, at, apart, backtest or 0)
        table |= spread(table) if backtest else {}
    metrics = evaluate_task(task, data.loader(at))
    if split == "test" and not overrides and data.content_hash == run.manifest.get("data_hash"):
        _compare(run, metrics["loss"])
    else:
        warn_of_changed_code(run, "model", "data")
    return Evaluation(
        run=str(run.folder),
        step=run.results.get("best", {}).get("step"),
        split=split,
        data={"content_hash": data.content_hash, "overrides": overrides},
        metrics=metrics,
        baselines=data.baselines(at),
        floor=data.floor(at),
        facts=data.facts(at),
        by=apart,
        breakdown=table,
    )


def learned_from(run: Run, task: Any, data: Any) -> None:
    """For a new text, if the text that the run was trained on still exists: lets its n-gram baselines count that, and
    warns where they share passages.
    """
    from rnnlab.data import Chars
    from rnnlab.runs.data import load_data

    if isinstance(data, Chars):
        try:
            own = load_data(run, task.spec)
            data.count(own)
        except UserError as error:
            warn(
                f"the n-gram baselines are left out: the text that the run learned from cannot be read ({error})"
            )
            return
        if (share := data.known_to(own, "test")) > KNOWN:
            warn(
                f"{100 * share:.3g}% of the text also occurs, in pieces of up to 64 characters, in the text that the "
                "run was trained on: there the score is no score on new text"
            )


def evaluate_plain(run: Run, module: Any, overrides: list[str], split: str | None, trust: bool) -> Evaluation:
    """`evaluate` for a user's own LightningModule: the metrics are what its test or validation steps log."""
    data, found, best, trainer = plain_part(run, module, overrides, split, trust)
    warn_of_changed_code(run, "model", "data")
    run_part = trainer.test if found == "test" else trainer.validate
    with quietly():
        run_part(module, datamodule=data, verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    knows: dict[str, Any] = {
        key: getattr(data, key)(found) if hasattr(data, key) else {}
        for key in ("baselines", "floor", "facts")
    }
    content = {"content_hash": getattr(data, "content_hash", None), "overrides": overrides}
    return Evaluation(run=str(run.folder), step=best, split=found, data=content, metrics=metrics, **knows)


def _compare(run: Run, loss: float) -> None:
    """Warns where the test loss differs from the one in the training: a loaded model lacks what callbacks did to the
    model or its batches, such as a hook.
    """
    asked, then = run.config["trainer"], run.results.get("test", {}).get("loss")
    limit = asked.get("limit_test_batches")  # 1 is one batch, 1.0 all
    whole = (limit is None or (limit == 1.0 and isinstance(limit, float))) and not asked.get("fast_dev_run")
    if then is None or not whole or asked.get("precision", "32-true") not in ("32-true", "64-true"):
        return
    if abs(loss - then) > 0.001 * abs(then):
        why = "something that the config does not describe, such as a callback, changed the model or its batches there"
        if since := why_stale(run, run.config):
            why = f"since then {', '.join(since)}"
        warn(f"the test loss is {loss:.4g}, and was {then:.4g} in the training: {why}")
