"""Evaluation and predictions of a run's best weights, on its own data or other data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnlab.api.arguments import texts, whole
from rnnlab.api.frame import frame
from rnnlab.errors import UserError, nearest, warn
from rnnlab.runs.data import changed, refuse_given
from rnnlab.runs.run import Run
from rnnlab.runs.sources import files, foreign_targets

SPLITS = ("train", "val", "test", "all")
BY = ("step", "target", "series")
NAMING = ("data.path=", "data.corpus=")
TITLES = {"train": "training", "val": "validation", "test": "test", "all": "all"}


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

    def to_frame(self) -> Any:
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
    _as_trained(run, task)
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


def names_data(overrides: Sequence[str]) -> bool:
    """Whether the overrides name a file or a corpus."""
    return any(o.lstrip("+").startswith(NAMING) for o in overrides)


def is_new(run: Run, overrides: Sequence[str]) -> bool:
    """Whether the overrides name another file or corpus than the run's. A file with the same bytes in another place is
    the run's own. Raises UserError for a corpus beside a path, which would be read instead.
    """
    named = [o for o in overrides if o.lstrip("+").startswith(NAMING)]
    if not named:
        return False
    refuse_given(run, named, False)
    ours, theirs = run.config["data"], changed(run.config, named)["data"]
    corpus = next((o for o in named if o.lstrip("+").startswith("data.corpus=")), "")
    if corpus and theirs.get("path") is not None:
        raise UserError(
            f"{corpus}: data.path={theirs['path']} would be read instead; leave out one of the two"
        )
    at = "data.path"
    before = [v for k, v in run.manifest.get("files", {}).items() if k == at or k.startswith(f"{at}.")]
    now = [*files({"data": {"path": theirs.get("path")}}).values()]
    if before or now:
        return sorted(before) != sorted(now)
    return any(ours.get(key) != theirs.get(key) for key in ("path", "corpus"))


def part(
    run: Run, task: Any, overrides: list[str], split: str | None, trust: bool
) -> tuple[Any, str, list[str]]:
    """The data for one of rnnlab's tasks, the part to evaluate, and the overrides, completed.

    Without a `split`, the part of a new file is the whole file ("all", which the data calls its test part); of other
    data it is the test part, or the validation part where the test part is empty.
    """
    from rnnlab.runs.data import load_data

    if split not in (None, *SPLITS):
        raise UserError(f"--split {split}: no such part.{nearest(str(split), SPLITS)}")
    new = is_new(run, overrides)
    whole = split == "all" or (split is None and new)
    if new and whole and run.config["data"].get("limit") is not None:  # the run's limit is for its own text
        limited = any(o.lstrip("+").startswith("data.limit=") for o in overrides)
        overrides = overrides if limited else [*overrides, "data.limit=null"]
    data = load_data(run, task.spec, overrides, whole=whole, trust=trust)
    for remark in getattr(data, "remarks", []):
        warn(remark)
    found: Any = "test" if whole or split is None else split
    if split is None and data.loader(found) is None:
        found = "val"
    if split is None and not new and names_data(overrides):
        warn(
            f"the data named is that of the run: its {TITLES[found]} part is scored; --split all takes all of it"
        )
    if data.loader(found) is None:
        raise UserError(f"--split {'all' if whole else found}: there is nothing in it to evaluate on")
    return data, "all" if whole else found, overrides


def learned_from(run: Run, task: Any, data: Any) -> None:
    """For a new text: lets its n-gram baselines count the text that the run was trained on, if that still exists."""
    from rnnlab.data import Chars
    from rnnlab.runs.data import load_data

    if isinstance(data, Chars):
        try:
            data.count(load_data(run, task.spec))
        except UserError as error:
            warn(
                f"the n-gram baselines are left out: the text that the run learned from cannot be read ({error})"
            )


def evaluate_plain(run: Run, module: Any, overrides: list[str], split: str | None, trust: bool) -> Evaluation:
    """`evaluate` for a user's own LightningModule: the metrics are what its test or validation steps log."""
    data, found, best, trainer = plain_part(run, module, overrides, split, trust)
    run_part = trainer.test if found == "test" else trainer.validate
    with _quietly():
        run_part(module, datamodule=data, verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    knows: dict[str, Any] = {
        key: getattr(data, key)(found) if hasattr(data, key) else {}
        for key in ("baselines", "floor", "facts")
    }
    content = {"content_hash": getattr(data, "content_hash", None), "overrides": overrides}
    return Evaluation(run=str(run.folder), step=best, split=found, data=content, metrics=metrics, **knows)


def plain_part(
    run: Run, module: Any, overrides: list[str], split: str | None, trust: bool, predicting: bool = False
) -> tuple[Any, str, int | None, Any]:
    """For a user's own LightningModule: the data, the part to evaluate, the step of the best weights, and a Trainer
    that shows nothing. The data draws the random numbers that it drew in the training.
    """
    from lightning.pytorch import Trainer
    from lightning.pytorch.utilities.model_helpers import is_overridden

    from rnnlab.runs.data import load_data
    from rnnlab.training.generators import Generators, gives

    name = type(module).__name__
    if split in ("train", "all"):
        raise UserError(f"--split {split}: {name} has steps for val and test alone")
    data = load_data(run, {}, overrides, trust=trust)
    drawing = Generators(run.config["seed"], 0, foreign_targets(run.config))
    drawing.wrap(data, module)
    steps = {"test": "test_step", "val": "validation_step"}
    possible = [p for p in steps if gives(data, f"{p}_dataloader")
                and (predicting or is_overridden(steps[p], module))]  # fmt: skip
    if not possible or (split and split not in possible):
        parts = f"for {' and '.join(possible)} alone" if possible else "for neither val nor test"
        raise UserError(
            f"--split {split or 'test'}: {name} and {type(data).__name__} have steps and loaders {parts}"
        )
    found = split or possible[0]
    best = run.results.get("best", {}).get("step")
    drawing.steps = (run.results.get("steps") if found == "test" else best) or 0
    with _quietly():
        trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
                          enable_model_summary=False)  # fmt: skip
    return data, found, best, trainer


@contextmanager
def _quietly() -> Iterator[None]:
    from rnnlab.runs.generators import drawn_by_run
    from rnnlab.training.quiet import quiet

    with quiet(), drawn_by_run():
        yield


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
        warn(
            f"the test loss is {loss:.4g}, and was {then:.4g} in the training: something that the config does not "
            "describe, such as a callback, changed the model or its batches there"
        )


def _as_trained(run: Run, task: Any) -> None:
    """Sets the native engine to the precision of the training, so that the metrics agree with the run's own."""
    if run.known.get("engine", {}).get("name") == "native":
        task.stack.precision = run.config["trainer"]["precision"]


def predict(
    run: Run, overrides: Sequence[str] = (), split: str | None = None, trust: bool = False
) -> np.ndarray:
    """The predictions of the task's `predict_step` for all sequences of a part, in the order of the data.

    `overrides` and `split` are as for `evaluate`; the same errors are raised.
    """
    import torch
    from lightning.pytorch.utilities.model_helpers import is_overridden

    from rnnlab.runs.load import load_model
    from rnnlab.tasks import Task

    task, overrides = load_model(run, trust), texts(overrides)
    if isinstance(task, Task):
        _as_trained(run, task)
        data, split, _ = part(run, task, overrides, split, trust)
        with torch.inference_mode():
            batches = data.loader("test" if split == "all" else split)
            return stacked(
                [task.predict_step(batch, i) for i, batch in enumerate(batches)], task.predicted_along
            )
    data, found, _, trainer = plain_part(run, task, overrides, split, trust, predicting=True)
    if found == "val":
        data.setup("validate")
    loader = getattr(data, f"{found}_dataloader")()
    if is_overridden("predict_step", task):
        with _quietly():
            return stacked(trainer.predict(task, loader), 0)
    with torch.inference_mode():  # Lightning's default predict_step would pass the targets to the module, too
        try:
            return stacked(
                [task(batch[0] if isinstance(batch, list | tuple) else batch) for batch in loader], 0
            )
        except (TypeError, NotImplementedError) as error:
            raise UserError(f"predict: {type(task).__name__} needs a predict_step: {error}") from error


def predict_on(run: Run, x: Any, trust: bool = False) -> np.ndarray:
    """The run's predictions for x: values of a series (B, T, inputs) in its own units, or ids (B, T).

    A LightningModule of the user's own is called with x, whose fractions get the type of its weights.
    """
    import torch

    from rnnlab.runs.load import load_model
    from rnnlab.tasks import Task

    task, given = load_model(run, trust), numbers(x)
    if not given.numel():
        raise UserError(f"predict: x is {tuple(given.shape)}, with nothing in it")
    with torch.inference_mode():
        if isinstance(task, Task):
            _as_trained(run, task)
            return np.asarray(task.predict_given(given))
        kinds = (p.dtype for p in task.parameters() if p.is_floating_point())
        if given.is_floating_point():
            given = given.to(next(kinds, torch.float32))
        try:
            return stacked([task(given)], 0)
        except (TypeError, NotImplementedError, RuntimeError) as error:
            said = str(error).strip().partition("\n")[0]
            raise UserError(
                f"predict: forward of {type(task).__name__} does not take x, {tuple(given.shape)} {given.dtype}: {said}"
            ) from error


def numbers(x: Any) -> Any:
    """A tensor of x: an array of any layout, nested lists, a DataFrame, or a tensor on any device. Raises UserError
    where it holds anything but numbers.
    """
    import torch

    if isinstance(x, torch.Tensor):
        return x.detach().cpu()
    try:
        array = np.asarray(x)
    except ValueError:  # nested lists of several lengths
        raise UserError("predict: x holds rows of several lengths") from None
    if array.dtype.kind not in "biuf":
        kind = type(x).__name__ if array.dtype == object else array.dtype
        raise UserError(f"predict: x is a {kind}, and no array of numbers")
    whole = array.dtype.kind != "f"
    return torch.from_numpy(np.array(array, dtype=np.int64 if whole else np.float64, order="C"))


def stacked(parts: list[Any], along: int) -> np.ndarray:
    """The predictions of all batches as one array. Raises UserError where there is none, or one is not a tensor."""
    import torch

    if not parts:
        raise UserError("predict: this part of the data has no batches")
    if others := [part for part in parts if not isinstance(part, torch.Tensor)]:
        kind = type(others[0]).__name__
        raise UserError(f"predict: the model gives a {kind}; only tensors can be put together")
    try:
        return torch.cat(parts, dim=along).numpy(force=True)
    except RuntimeError as error:
        shapes = ", ".join(dict.fromkeys(str(tuple(part.shape)) for part in parts))
        raise UserError(f"predict: the batches' results cannot be put together: {shapes}") from error
