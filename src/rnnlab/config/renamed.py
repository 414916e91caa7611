"""Classes that have moved: a config that names one by its old place still works."""

from typing import Any

_INSTRUMENTS = (
    "through_time.GradientThroughTime", "through_time.Memory", "states.States", "spectrum.RecurrentWeights",
    "horizon.Horizon", "writing.Writing",
)  # fmt: skip
RENAMED = {
    "rnnlab.training.progress.Progress": "rnnlab.terminal.progress.Progress",
    "rnnlab.inspection.pictures.Pictures": "rnnlab.figures.callback.Figures",
    "rnnlab.training.loggers.TensorBoard": "rnnlab.tensorboard.logger.TensorBoard",
    **{f"rnnlab.inspection.{name}": f"rnnlab.instruments.{name}" for name in _INSTRUMENTS},
}


def rename(node: Any, at: str = "") -> dict[str, str]:
    """Gives every `_target_` below `node` its new name, in place; {dotted path: old name} of what changed.

    `node` is a config of plain dictionaries and lists.
    """
    changed: dict[str, str] = {}
    if isinstance(node, dict):
        target = node.get("_target_")
        if isinstance(target, str) and target in RENAMED:
            node["_target_"] = RENAMED[target]
            changed[f"{at}._target_" if at else "_target_"] = target
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inside:
        if isinstance(value, (dict, list)):
            changed |= rename(value, f"{at}.{key}" if at else str(key))
    return changed
