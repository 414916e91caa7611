"""Shift and scale of the columns of each series of a frame, and how a trained model's spec keeps them."""

from typing import Any, NamedTuple

import numpy as np

from rnnlab.data.frame import Frame
from rnnlab.errors import UserError, nearest


class Scales(NamedTuple):
    """raw = scaled * scale + shift: `shift` and `scale` are float64 (series, columns)."""

    shift: np.ndarray
    scale: np.ndarray

    def described(self, frame: Frame, target_columns: list[int]) -> dict[str, Any]:
        """As the spec keeps them.

        Of several series none has the scale: the task works in scaled units, each window brings its own, and
        those of each series stand beside their names.
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
        """Those of a trained model for the series of another frame, found by their names.

        Raises UserError if one is of one series, the other of several, or a name is unknown to the model.
        """
        several = spec.get("series")
        if (several is None) != (not frame.groups):
            raise UserError(
                f"the model was trained on {'one series' if several is None else 'several series, by data.id_column'}"
            )
        rows = [0]
        if several:
            names = several["names"]
            if strangers := [group.name for group in frame.groups if group.name not in names]:
                raise UserError(
                    f"the model knows no scale for the series {strangers[0]}.{nearest(strangers[0], names)}"
                )
            rows = [names.index(group.name) for group in frame.groups]
        outside = [i for i, column in enumerate(target_columns) if column >= len(frame.inputs)]

        def columns(key: str) -> np.ndarray:
            inputs, targets = (
                several[k] if several else [spec[k]] for k in (f"input_{key}", f"target_{key}")
            )
            return np.array([inputs[r] + [targets[r][i] for i in outside] for r in rows])

        return cls(columns("shift"), columns("scale"))
