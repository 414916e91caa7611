"""`Scales`: shift and scale of each column of each series, and their form in the spec of a trained model."""

from typing import NamedTuple

import numpy as np

from rnnlab.data.frame import Frame
from rnnlab.data.spec import ColumnScales, SeriesScales, SeriesSpec
from rnnlab.errors import UserError, nearest


class Scales(NamedTuple):
    """raw = scaled * scale + shift: `shift` and `scale` are float64 (series, columns)."""

    shift: np.ndarray
    scale: np.ndarray

    def described(self, frame: Frame, target_columns: list[int]) -> tuple[ColumnScales, SeriesScales | None]:
        """The scales as the spec keeps them: of each column, and of each series where there are several.

        With several series, the scales of the columns are neutral (shift 0, scale 1): the task works in scaled units,
        and each window comes with the scale of its series.
        """
        inputs = len(frame.inputs)
        of_each: SeriesScales = {
            "names": [group.name for group in frame.groups],
            "input_shift": self.shift[:, :inputs].tolist(),
            "input_scale": self.scale[:, :inputs].tolist(),
            "target_shift": self.shift[:, target_columns].tolist(),
            "target_scale": self.scale[:, target_columns].tolist(),
        }
        if frame.groups:
            n, m = inputs, len(target_columns)
            neutral: ColumnScales = {"input_shift": [0.0] * n, "input_scale": [1.0] * n,
                                     "target_shift": [0.0] * m, "target_scale": [1.0] * m}  # fmt: skip
            return neutral, of_each
        of_one: ColumnScales = {
            "input_shift": of_each["input_shift"][0],
            "input_scale": of_each["input_scale"][0],
            "target_shift": of_each["target_shift"][0],
            "target_scale": of_each["target_scale"][0],
        }
        return of_one, None

    @classmethod
    def of_spec(cls, spec: SeriesSpec, frame: Frame, target_columns: list[int]) -> "Scales":
        """The scales of a trained model for the series of another frame, found by the names of the series.

        Raises UserError if one of both has a single series and the other several, or if the model lacks a name.
        """
        several = spec.get("series")
        if (several is None) != (not frame.groups):
            one, more = "one series", "several, by data.id_column"
            then, now = (one, more) if several is None else (more, one)
            raise UserError(f"the model was trained on {then}, this data has {now}")
        rows = [0]
        if several:
            names = several["names"]
            if strangers := [group.name for group in frame.groups if group.name not in names]:
                raise UserError(
                    f"the model was not trained on the series {strangers[0]} and has no scale for it."
                    f"{nearest(strangers[0], names)}"
                )
            rows = [names.index(group.name) for group in frame.groups]
        outside = [i for i, column in enumerate(target_columns) if column >= len(frame.inputs)]

        def columns(inputs: list[list[float]], targets: list[list[float]]) -> np.ndarray:
            return np.array([inputs[r] + [targets[r][i] for i in outside] for r in rows])

        if several:
            shifts, scales = several["input_shift"], several["input_scale"]
            return cls(columns(shifts, several["target_shift"]), columns(scales, several["target_scale"]))
        shifts, scales = [spec["input_shift"]], [spec["input_scale"]]
        return cls(columns(shifts, [spec["target_shift"]]), columns(scales, [spec["target_scale"]]))
