"""Makes Optuna's samplers and pruners for the names in `sweep.search` and `sweep.prune`."""

import math
import warnings
from typing import TYPE_CHECKING

from rnnlab.config.run_config import SweepConfig
from rnnlab.errors import UserError
from rnnlab.runs.trials import RUNG

if TYPE_CHECKING:
    import optuna

IN_ORDER = ("none", "halving", "median", "wilcoxon")  # pruners allowed in deterministic order
AT_RUNGS = ("asha", "hyperband")  # pruners that keep the value of each trial at each rung
STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}  # {the journal's word: Optuna's}


def require_optuna(options: SweepConfig) -> None:
    """Raises UserError where Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"sweep.search={options['search']}: needs Optuna: pip install 'rnnlab[search]'"
        ) from error


def gp_takes_several() -> bool:
    """Whether Optuna's Gaussian-process sampler supports several objectives."""
    import optuna

    return tuple(map(int, optuna.__version__.split(".")[:2])) >= (4, 4)


def state(word: str) -> "optuna.trial.TrialState":
    from optuna.trial import TrialState

    return TrialState[STATES[word]]


def passed(trial: "optuna.trial.FrozenTrial") -> dict[str, float]:
    """A trial's values at the rungs that it has reached; {} for pruners other than asha and hyperband."""
    return {k: v for k, v in trial.system_attrs.items() if k.startswith(RUNG)}


def earliest(options: SweepConfig, steps: int, first: int = 1) -> int:
    """The step from which on a run of `steps` may be pruned; it may lie behind the run's end. `first`: the step of its
    first validation. Two rungs before it would be decided by one score.
    """
    return max(first, options["min_steps"] or math.ceil(steps / options["reduction"] ** 3))


def rungs(options: SweepConfig, steps: int, first: int = 1) -> list[int]:
    """The steps at which runs are compared: the first, and from there each `sweep.reduction` times the one before."""
    found = []
    at = earliest(options, steps, first)
    while at < steps:
        found.append(at)
        at *= options["reduction"]
    return found


def sampler(options: SweepConfig, known: int) -> "optuna.samplers.BaseSampler":
    """Optuna's sampler. `known`: how many trials an earlier command has chosen; it changes the seed, so that the same
    numbers are not drawn again.
    """
    import optuna

    kind, seed = options["search"], (options["search_seed"] + 7919 * known) % 2**32
    try:
        if kind == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if kind == "tpe":
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        if kind == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        if kind == "gp":
            import scipy  # noqa: F401

            return optuna.samplers.GPSampler(seed=seed)
        import cmaes  # noqa: F401
    except ImportError as error:
        raise UserError(f"sweep.search={kind}: needs {error.name}: pip install 'rnnlab[search]'") from error
    return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)


def pruner(options: SweepConfig, steps: int, first: int = 1) -> "optuna.pruners.BasePruner":
    import optuna

    kind, by = options["prune"], options["reduction"]
    lowest = earliest(options, steps, first)
    if kind == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=lowest, reduction_factor=by)
    if kind == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=lowest, max_resource=max(steps, lowest), reduction_factor=by
        )
    if kind == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=lowest)
    if kind == "wilcoxon":
        try:
            import scipy  # noqa: F401
        except ImportError as error:
            raise UserError("sweep.prune=wilcoxon: needs scipy: pip install 'rnnlab[search]'") from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.pruners.WilcoxonPruner()
    return optuna.pruners.NopPruner()
