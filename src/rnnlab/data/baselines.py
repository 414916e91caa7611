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
PENALTIES = (
    0.0,
    *(10.0**k for k in range(-6, 3)),
)  # of ridge regression, in mean squares of standardised inputs


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


def seasonal(
    targets: np.ndarray,
    window: int,
    horizon: int,
    season: int,
    first: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Predictor:
    """The value a season before; beyond one season ahead, the last seen season over again.

    Windows so near to the start of the series that there is no season before them are given the last value.
    `first` gives the first row of the series that a row belongs to, where there are several.
    """
    ahead = np.arange(1, horizon + 1)
    back = ahead - season * -(-ahead // season)  # <= 0: a step of the season that ends with the window

    def predict(at: np.ndarray) -> np.ndarray:
        last = at[:, None] + window - 1
        start = 0 if first is None else first(last)
        return targets[np.where(last + back >= start, last + back, last)]

    return predict


def linear(
    inputs: np.ndarray,
    targets: np.ndarray,
    window: int,
    horizon: int,
    fitted: np.ndarray,
    chosen_on: np.ndarray | None = None,
) -> Predictor | None:
    """Ridge regression on all values of the window, fitted on the windows that start at `fitted`.

    The penalty is the one of `PENALTIES` with the least squared error (of each target in units of its own
    spread) on the windows that start at `chosen_on`; without such on the last fifth of the fitted windows, which
    are then left out for that choice. Inputs are standardised, the intercept has no penalty. Directions in which
    the windows vary by less than a millionth of the main one are left alone, so that a window of a noiseless sine
    (rank 2) is no trouble. None where a window holds more than `FEATURES` values.
    """
    if window * inputs.shape[1] > FEATURES:
        return None
    fitted = fitted[:: -(-len(fitted) // FITTED)]
    centre, spread = inputs[fitted].mean(0), inputs[fitted].std(0)
    inputs = (inputs - centre) / np.where(spread > 0, spread, 1.0)
    level = targets[fitted].mean(0)
    deviation = targets[fitted].std(0)
    steps = np.arange(window + horizon)

    def features(at: np.ndarray) -> np.ndarray:
        x = inputs[at[:, None] + steps[:window]].reshape(len(at), -1)
        return np.hstack([x, np.ones((len(at), 1))])

    def wanted(at: np.ndarray) -> np.ndarray:
        return (targets - level)[at[:, None] + steps[window:]].reshape(len(at), -1)

    def ridge(at: np.ndarray) -> Callable[[float], np.ndarray]:
        gram, moment = np.zeros(()), np.zeros(())
        for i in range(0, len(at), CHUNK):
            x = features(at[i : i + CHUNK])
            gram, moment = gram + x.T @ x, moment + x.T @ wanted(at[i : i + CHUNK])
        gram, moment = gram / len(at), moment / len(at)
        mean_x, mean_y = gram[-1, :-1], moment[-1]
        values, vectors = np.linalg.eigh(gram[:-1, :-1] - np.outer(mean_x, mean_x))
        moment = vectors.T @ (moment[:-1] - np.outer(mean_x, mean_y))
        kept = values > 1e-12 * max(values[-1], 0.0)

        def weights(penalty: float) -> np.ndarray:
            w = vectors[:, kept] @ (moment[kept] / (values[kept] + penalty)[:, None])
            return np.vstack([w, mean_y - mean_x @ w])

        return weights

    if chosen_on is None or not len(chosen_on):
        held = len(fitted) // 5
        chosen_on, before = fitted[len(fitted) - held :], fitted[: len(fitted) - held]
    else:
        chosen_on, before = chosen_on[:: -(-len(chosen_on) // CHUNK)], fitted
    weights = ridge(before) if len(chosen_on) else ridge(fitted)
    penalty = 0.0
    if len(chosen_on):
        x, y = features(chosen_on), wanted(chosen_on)
        unit = np.tile(np.where(deviation > 0, deviation, 1.0), horizon)
        errors = [np.square((x @ weights(p) - y) / unit).mean() for p in PENALTIES]
        penalty = PENALTIES[int(np.argmin(errors))]
    best = (weights if before is fitted else ridge(fitted))(penalty)
    return lambda at: (features(at) @ best).reshape(len(at), horizon, -1) + level
