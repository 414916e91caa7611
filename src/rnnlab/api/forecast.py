"""Free-running forecasts, in which the model reads its own output, on the data of a run or on new data."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnlab.api.arguments import texts, whole
from rnnlab.api.frame import frame
from rnnlab.api.part import is_new, names_data, warn_of_changed_code
from rnnlab.errors import UserError, counted, nearest, warn
from rnnlab.memory import check_memory
from rnnlab.runs.run import Run

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from rnnlab.data.frame import Group
    from rnnlab.data.windows import Windowed
    from rnnlab.tasks import Forecaster

STEPS = 200  # the default horizon


@dataclass(frozen=True, repr=False)
class Forecast:
    """`values` (steps, targets) at `times` (steps,), in the units of the data, and a `baseline` that knows as much.

    `truth` (known, targets) ends where the data ends. A notebook shows a forecast as a picture.
    """

    targets: list[str]
    times: np.ndarray
    values: np.ndarray
    baseline: np.ndarray
    baseline_name: str
    truth: np.ndarray
    errors: dict[str, dict[str, float]]
    """{forecast or baseline: {mse, mae}} over the steps with known truth; {} where there are none."""
    time_name: str
    name: str
    """The stem of its files in the run's figures/."""
    within_training: bool
    """Whether it begins in rows that the model was trained on."""
    _drawn: "Callable[[], Figure]"
    time_texts: list[Any]
    """The times as text, with the offset from UTC that the file has."""
    levels: tuple[float, ...] = ()
    quantiles: np.ndarray | None = None
    """Of a distribution: (steps of the first forecast, targets, levels); of a point forecast: None."""
    in_utc: bool = False
    """Whether `times` are in UTC, as those of a file whose times have offsets are."""

    def __repr__(self) -> str:
        mse = f", mse {self.errors['forecast']['mse']:.4g}" if self.errors else ""
        return f"<Forecast of {', '.join(self.targets)}: {counted(len(self.times), 'step')}{mse}>"

    def columns(self) -> dict[str, list[Any]]:
        """{column: values}: the time; for each target the truth (where any is known), the forecast and the baseline;
        and the quantiles of a distribution, which end with the model's own horizon.
        """
        found: dict[str, list[Any]] = {self.time_name: list(self.time_texts)}
        steps = len(self.times)
        absent: list[Any] = [None] * (steps - len(self.truth))
        for j, target in enumerate(self.targets):
            if len(self.truth):
                found[f"{target}_truth"] = self.truth[:, j].tolist() + absent
            found[f"{target}_forecast"] = self.values[:, j].tolist()
            found[f"{target}_{self.baseline_name}"] = self.baseline[:, j].tolist()
            for k, level in enumerate(self.levels):
                known = self.quantiles[:, j, k].tolist() if self.quantiles is not None else []
                found[f"{target}_q{level:g}"] = known[:steps] + [None] * (steps - len(known))
        return found

    def to_csv(self) -> str:
        """One line for each step. Numbers are the shortest text that reads back as the same float, times are ISO."""
        text = io.StringIO()
        lines, columns = csv.writer(text, lineterminator="\n"), self.columns()
        lines.writerow(columns)
        lines.writerows(zip(*columns.values(), strict=True))
        return text.getvalue()

    def to_frame(self) -> "pandas.DataFrame":
        """A pandas DataFrame with the columns of `columns()`, indexed by time, in UTC where the file has offsets."""
        found = frame(self.columns() | {self.time_name: self.times}).set_index(self.time_name)
        return found.tz_localize("UTC") if self.in_utc else found

    def figure(self) -> "Figure":
        """A matplotlib figure: the window, truth, forecast and baseline."""
        return self._drawn()

    def _repr_png_(self) -> bytes:
        from rnnlab.figures.canvas import png
        from rnnlab.terminal.notebook import light

        return light(png(self.figure()))


def forecast(
    run: Run,
    horizon: int | None = None,
    overrides: Sequence[str] = (),
    *,
    start: int | None = None,
    data_file: str | Path | None = None,
    series: str | None = None,
    trust: bool = False,
) -> Forecast:
    """Forecasts `horizon` steps, beginning `start` steps before the end of the data; see `rnnlab forecast --help`.

    The default `horizon` is 200 steps, or as many as model and data allow. `series` names one of several.

    Raises UserError for a run that is not a forecaster, data that does not fit the model, a start without a whole
    window before it, and a model that needs inputs whose future is not known.
    """
    from rnnlab.figures.forecast import running_on, time_name
    from rnnlab.runs.load import load_model
    from rnnlab.tasks import Forecaster
    from rnnlab.tasks.rollout import free_run

    horizon, start = whole("--horizon", horizon), whole("--start", start)
    if horizon is not None and horizon < 1:
        raise UserError(f"--horizon {horizon}: must be at least 1")
    if start is not None and start < 0:
        raise UserError(f"--start {start}: must be at least 0")
    task, overrides = load_model(run, trust), texts(overrides)
    if not isinstance(task, Forecaster):
        raise UserError(f"{run.folder} holds a {type(task).__name__}; only a Forecaster can forecast")
    if data_file is not None:
        overrides.insert(0, _named(run, data_file))
    named, new_file = names_data(overrides), is_new(run, overrides)
    data = _data(run, task, overrides, new_file, trust)
    group = chosen(data, series)
    rows = group.stop - group.start
    if rows < data.window:
        other = "; --id names another" * (len(data.frame.groups) > 1)
        raise UserError(
            f"the series {group.name} has {counted(rows, 'row')}, and the model needs {data.window}{other}"
        )
    given = start
    if horizon is None:
        horizon = longest(task, data, group, None if not named and start is None else start or 0)
    asked = f"--horizon {horizon}" if start is None else f"--start {start}"
    start = start if start is not None else 0 if named else horizon
    check_memory(100.0 * horizon * len(data.target_columns), f"--horizon {horizon}")
    if rows - start < data.window:
        raise UserError(
            f"{asked}: the data has {counted(rows, 'row')} and the model needs {data.window} before the forecast, "
            f"which can begin at most {counted(rows - data.window, 'step')} before the end"
        )
    row = group.stop - start
    trained = group.start + data.parts(rows)["train"].stop if data.frame.groups else data.rows("train")[1]
    free = free_run(task, data, row, horizon)
    suffix = f"-{slug(group.name)}" if series else ""
    if given is not None:
        suffix += f"-start-{given}"
    if named and isinstance(path := getattr(data, "path", None), str | Path):
        suffix += f"-{slug(Path(path).stem)}"
    return Forecast(
        targets=data.frame.targets,
        times=free.times,
        values=free.forecast,
        baseline=free.baseline,
        baseline_name=free.baseline_name,
        truth=free.truth,
        errors=free.errors(),
        time_name=time_name(data),
        name=f"free-run-{horizon}{suffix}",
        within_training=not new_file and row < trained,
        time_texts=texts_of(data, free),
        levels=tuple(free.levels),
        quantiles=free.quantiles,
        in_utc=data.frame.offsets is not None,
        _drawn=lambda: running_on(data, free, message(run, free)),
    )


def _named(run: Run, data_file: Any) -> str:
    """The override for --data."""
    from rnnlab.config.texts import quoted

    if not isinstance(data_file, str | Path):
        raise UserError(f"forecast: data is the path of a file, and no {type(data_file).__name__}")
    if "path" not in run.config["data"]:
        raise UserError(f"--data {data_file}: this run's data is generated, not read from a file")
    return f"data.path={quoted(str(data_file))}"


def _data(run: Run, task: "Forecaster", overrides: Sequence[str], new_file: bool, trust: bool) -> "Windowed":
    from rnnlab.data.windows import Windowed
    from rnnlab.runs.data import load_data

    data = load_data(run, task.spec, overrides, whole=new_file, trust=trust)
    if not isinstance(data, Windowed):
        raise UserError(
            f"{run.folder}: {type(data).__name__} is not one of rnnlab's series, and has no end to forecast from"
        )
    warn_of_changed_code(run, "model", "data")
    return data


def longest(task: "Forecaster", data: "Windowed", group: "Group", start: int | None) -> int:
    """The default horizon: `STEPS`, or fewer where an input's future is not known, which a line says.

    `start`: how many steps before the end the forecast begins; None for a forecast of the last steps of the data, which
    is compared with them, so that it begins after the training part.
    """
    from rnnlab.tasks.rollout import farthest

    rows = group.stop - group.start
    horizon, missing = STEPS, list[str]()
    if start is None:
        held = rows - data.parts(rows)["train"].stop  # rows after the training part
        horizon = max(1, min(STEPS, held, rows - data.window))
    while horizon:  # a shorter forecast of the last steps begins later, where other inputs are known
        row = group.stop - (horizon if start is None else start)
        reached, unknown = farthest(task, data, row, horizon)
        missing = missing or unknown
        if reached == horizon:
            break
        horizon = reached
    if missing:
        warn(
            f"the forecast goes {horizon} steps ahead: further on the model would need {', '.join(missing)}, which it "
            "does not forecast"
        )
    return horizon


def message(run: Run, free: Any) -> tuple[str, str]:
    """The picture's title: run, number of steps and mse, then the mse of the baseline."""
    experiment, steps = run.record.get("experiment", run.folder.parent.name), len(free.forecast)
    name = f"{experiment}: {counted(steps, 'step')} free-running"
    errors = free.errors()
    if not errors:
        return name, "(beyond the end of the data)"
    scores = {who: found["mse"] for who, found in errors.items()}
    return f"{name}, mse {scores.pop('forecast'):.3g}", "".join(f"({n} {v:.3g})" for n, v in scores.items())


def slug(name: str) -> str:
    """A name with only characters that a file name may have, at most 60."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:60]


def chosen(data: Any, name: str | None) -> Any:
    """The series of that name, or the first if `name` is None. Raises UserError where the name is unknown."""
    if name is None:
        return data.frame.series[0]
    named = {group.name: group for group in data.frame.groups}
    if name not in named:
        raise UserError(
            f"--id {name}: no such series.{nearest(name, list(named))}"
            if named
            else f"--id {name}: this data is one series; data.id_column tells several apart"
        )
    return named[name]


def texts_of(data: Any, free: Any) -> list[Any]:
    """The time of each step as text, with the offset from UTC in the file; after its end, with that of its last row."""
    from rnnlab.data.frame import time_texts

    offsets = data.frame.offsets
    if offsets is not None:
        last = data.frame.series_of(free.row - 1).stop - 1
        offsets = offsets[[min(free.row + i, last) for i in range(len(free.times))]]
    return time_texts(free.times, offsets)
