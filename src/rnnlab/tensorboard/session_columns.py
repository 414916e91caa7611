"""The columns of HParams in `rnnlab board`: of which type each is, and which metrics stand beside them."""

from collections.abc import Iterable, Sequence
from typing import Any

from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from rnnlab.tensorboard.columns import DERIVED, outcome
from rnnlab.tensorboard.session_group import Group
from rnnlab.tensorboard.summaries import word

RUNS = "runs"  # the column that says how many runs a configuration has, and how they fare


def experiment(columns: Sequence[dict[str, Any]], groups: Iterable[Group]) -> bytes:
    """One column for each key, of one type, and the metrics in the order in which one asks for them."""
    found = api_pb2.Experiment()
    for key in sorted({key for values in columns for key in values}):
        values = [c[key] for c in columns if key in c]
        info = found.hparam_infos.add(name=key, differs=len(set(map(str, values))) > 1 or key == RUNS)
        types = {kind(value) for value in values}
        if types == {float}:
            info.type = api_pb2.DATA_TYPE_FLOAT64
            info.domain_interval.min_value, info.domain_interval.max_value = min(values), max(values)
        else:
            info.type = api_pb2.DATA_TYPE_BOOL if types == {bool} else api_pb2.DATA_TYPE_STRING
            said = values if types == {bool} else map(word, values)
            info.domain_discrete.extend(sorted(set(said)))
    for tag in metrics(groups):
        found.metric_infos.add(name=api_pb2.MetricName(tag=tag))
    return HParamsPluginData(experiment=found).SerializeToString()


def metrics(groups: Iterable[Group]) -> list[str]:
    """The tab opens with the first five: best and last of what was watched, the excess, size and time."""
    tags: dict[str, None] = {}
    watched = "loss"
    for group in groups:
        for member in group.finished:
            results = member.record.get("results", {})
            tags |= dict.fromkeys(outcome(results))
            watched = results.get("best", {}).get("monitor", "loss/val").removeprefix("metric/")
    watched = "loss" if watched == "loss/val" else watched
    excess = sorted(t for t in tags if t.startswith("excess/") and not t.startswith("excess/test"))
    first = [t for t in (f"best/{watched}", f"last/{watched}", *excess[:1]) if t in tags]
    first += ["run/parameters", "run/seconds"]
    order = ("best", "excess", "test", "last")
    rest = sorted(tags, key=lambda t: (order.index(t.split("/")[0]), t.split("/")[1] in DERIVED))
    return list(dict.fromkeys([*first, *rest]))


def kind(value: Any) -> type:
    return bool if isinstance(value, bool) else float if isinstance(value, (int, float)) else str
