"""Simple predictors of a windowed series, each in the raw units of the data.

A predictor maps window starts (B,) to forecasts (B, horizon, targets), or to what broadcasts to that
shape. It may look at everything before the first target step, also in front of the window, and at nothing
later.
"""

from collections.abc import Callable

import numpy as np

Predictor = Callable[[np.ndarray], np.ndarray]

CHUNK = 4096  # windows that are laid out at a time
FITTED = 16384  # windows that the linear predictor is fitted on at most, evenly spaced
FEATURES = (
    2000  # above so many values in a window the linear predictor is left out: its fit would cost seconds
)


def score(predict: Predictor, targets: np.ndarray, starts: np.ndarray, window: int, horizon: int) -> dict:
    """`{mse, mae, rmse}` over all windows, horizon steps and targets, given as (N, targets)."""
    steps = window + np.arange(horizon)
    square = absolute = 0.0
    for i in range(0, len(starts), CHUNK):
        at = starts[i : i + CHUNK]
        error = predict(at) - targets[at[:, None] + steps]
        square += float(np.square(error).sum())
        absolute += float(np.abs(error).sum())
    n = len(starts) * horizon * targets.shape[1]
    return {"mse": square / n, "mae": absolute / n, "rmse": (square / n) ** 0.5}


def persistence(targets: np.ndarray, window: int) -> Predictor:
    """The last value that was seen, held."""
    return lambda at: targets[at[:, None] + window - 1]


def mean(targets: np.ndarray, window: int, horizon: int, fitted: np.ndarray) -> Predictor:
    """The mean of the targets of the windows that start at `fitted`."""
    value = targets[fitted[:, None] + window + np.arange(horizon)].mean((0, 1))
    return lambda at: value


def seasonal(targets: np.ndarray, window: int, horizon: int, season: int) -> Predictor:
    """The value a season before; beyond one season ahead, the last seen season over again.

    Windows so near to the start of the series that there is no season before them are given the last value.
    """
    ahead = np.arange(1, horizon + 1)
    back = ahead - season * -(-ahead // season)  # <= 0: a step of the season that ends with the window

    def predict(at: np.ndarray) -> np.ndarray:
        last = at[:, None] + window - 1
        return targets[np.where(last + back >= 0, last + back, last)]

    return predict


def linear(
    inputs: np.ndarray, targets: np.ndarray, window: int, horizon: int, fitted: np.ndarray
) -> Predictor | None:
    """Least squares with intercept on all values of the window, fitted on the windows that start at `fitted`.

    By normal equations on standardised inputs; directions in which the windows vary by less than a
    millionth of the main one are left alone, so that a window of a noiseless sine (rank 2) is no trouble.
    None where a window holds more than `FEATURES` values.
    """
    if window * inputs.shape[1] > FEATURES:
        return None
    fitted = fitted[:: -(-len(fitted) // FITTED)]
    centre, spread = inputs[fitted].mean(0), inputs[fitted].std(0)
    inputs = (inputs - centre) / np.where(spread > 0, spread, 1.0)
    level = targets[fitted].mean(0)
    steps = np.arange(window + horizon)

    def features(at: np.ndarray) -> np.ndarray:
        x = inputs[at[:, None] + steps[:window]].reshape(len(at), -1)
        return np.hstack([x, np.ones((len(at), 1))])

    gram, moment = 0.0, 0.0
    for i in range(0, len(fitted), CHUNK):
        at = fitted[i : i + CHUNK]
        x = features(at)
        y = (targets - level)[at[:, None] + steps[window:]].reshape(len(at), -1)
        gram, moment = gram + x.T @ x, moment + x.T @ y
    weights = np.linalg.pinv(gram, rcond=1e-12, hermitian=True) @ moment
    return lambda at: (features(at) @ weights).reshape(len(at), horizon, -1) + level
