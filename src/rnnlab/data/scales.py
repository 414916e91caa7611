"""`Scales`: shift and scale of each column of each series, and their form in the spec of a trained model."""

from typing import Any, NamedTuple

import numpy as np

from rnnlab.data.frame import Frame
from rnnlab.errors import UserError, nearest


class Scales(NamedTuple):
    """raw = scaled * scale + shift: `shift` and `scale` are float64 (series, columns)."""

    shift: np.ndarray
    scale: np.ndarray

    def described(self, frame: Frame, target_columns: list[int]) -> dict[str, Any]:
        """The scales as the spec keeps them.

        With several series, the main entries are neutral (shift 0, scale 1): the task works in scaled units, and each
        window comes with the scale of its series. The entry "series" then holds the names and scales of all series.
        """
        inputs = len(frame.inputs)
        arrays = {
            "input_shift": self.shift[:, :inputs],
            "input_scale": self.scale[:, :inputs],
            "target_shift": self.shift[:, target_columns],
            "target_scale": self.scale[:, target_columns],
        }
        if not frame.groups:
            return {key: array[0].tolist() for key, array in arrays.items()}
        neutral = {key: [float("scale" in key)] * array.shape[1] for key, array in arrays.items()}
        of_each = {key: array.tolist() for key, array in arrays.items()}
        return {**neutral, "series": {"names": [group.name for group in frame.groups], **of_each}}

    @classmethod
    def of_spec(cls, spec: dict[str, Any], frame: Frame, target_columns: list[int]) -> "Scales":
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

        def columns(key: str) -> np.ndarray:
            inputs, targets = (
                several[k] if several else [spec[k]] for k in (f"input_{key}", f"target_{key}")
            )
            return np.array([inputs[r] + [targets[r][i] for i in outside] for r in rows])

        return cls(columns("shift"), columns("scale"))
