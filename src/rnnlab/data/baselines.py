"""Simple predictors of a windowed series, each in the raw units of the data.

A predictor maps window starts (B,) to forecasts (B, horizon, targets), or to an array that broadcasts to that
shape. It may use all rows before the first target step, also those before the window, and no later ones.
"""

from collections.abc import Callable

import numpy as np

Predictor = Callable[[np.ndarray], np.ndarray]

CHUNK = 4096  # windows that are in memory at a time
FITTED = 16384  # the linear predictor is fitted on at most so many windows, evenly spaced
# with more values in a window, there is no linear predictor, because its fit would take seconds
FEATURES = 2000
# of ridge regression, in mean squares of standardised inputs
PENALTIES = (0.0, *(10.0**k for k in range(-6, 3)))


def score(predict: Predictor, targets: np.ndarray, starts: np.ndarray, window: int, horizon: int) -> dict:
    """`{mse, mae, rmse}` over all windows, horizon steps and targets; `targets` is the whole series (N, targets)."""
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
    """Predicts the last value of the window for every step."""
    return lambda at: targets[at[:, None] + window - 1]


def mean(targets: np.ndarray, window: int, horizon: int, fitted: np.ndarray) -> Predictor:
    """Predicts the mean of the targets of the windows that start at `fitted`."""
    value = targets[fitted[:, None] + window + np.arange(horizon)].mean((0, 1))
    return lambda at: value


def seasonal(
    targets: np.ndarray,
    window: int,
    horizon: int,
    season: int,
    first: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Predictor:
    """Predicts the value one season before; further ahead, it repeats the season that ends with the window.

    Where that row lies before the start of the series, it predicts the last value of the window instead.
    `first` maps rows to the first row of their series, where there are several.
    """
    ahead = np.arange(1, horizon + 1)
    back = ahead - season * -(-ahead // season)  # <= 0: relative to the window's last row

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

    The penalty is the one of `PENALTIES` with the least squared error (each target in units of its standard
    deviation) on the windows that start at `chosen_on`. Without these it is chosen on the last fifth of the fitted
    windows, by a fit on the others. Inputs are standardised, the intercept has no penalty. Directions in which the
    windows vary by less than a millionth of the main one have weight 0, so that a window of a noiseless sine (rank 2)
    can be fitted. None where a window holds more than `FEATURES` values.
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
