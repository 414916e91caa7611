"""TensorBoard as `rnnlab board` serves it, from run.json and configs, too: `python -m rnnlab.tensorboard.server`.

Its tabs read through a data provider, and three of them get one that shows less, or more:

* HParams: the sessions by each run.json (`rnnlab.tensorboard.sessions`);
* Time Series and Scalars: curves alone. What a run has a single value of is in HParams, constants in Custom Scalars;
* Custom Scalars: baselines and floor once for all seeds of a data set, and not once more for every run.
"""

import copy
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tensorboard.data.provider import TensorTimeSeries
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.plugins.metrics.metrics_plugin import MetricsPlugin
from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin

from rnnlab.tensorboard.hosts import local
from rnnlab.tensorboard.sessions import FRESH_S, Sessions
from tensorboard import default, program

POINTS = ("best/", "last/", "excess/", "test/", "run/")
LINES = "reference/"
EDGES = (".low", ".high")  # of a band


class View:
    """A data provider that changes what another one lists."""

    def __init__(self, provider: Any, folder: Path) -> None:
        self._provider, self._folder = provider, folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)


class Curves(View):
    def list_scalars(self, *context: Any, **asked: Any) -> Any:
        return {
            run: {
                t: of
                for t, of in tags.items()
                if not t.startswith((*POINTS, LINES)) and not t.endswith(EDGES)
            }
            for run, tags in self._provider.list_scalars(*context, **asked).items()
        }


class Hyperparameters(View):
    def __init__(self, provider: Any, folder: Path) -> None:
        super().__init__(provider, folder)
        self._sessions = Sessions(folder)

    def list_tensors(self, *context: Any, **asked: Any) -> Any:
        found = dict(self._provider.list_tensors(*context, **asked))
        if asked.get("plugin_name") == "hparams":
            for run, tags in self._sessions.contents().items():
                found[run] = {tag: _series(content) for tag, content in tags.items()}
        return found


def _series(content: bytes) -> TensorTimeSeries:
    return TensorTimeSeries(
        max_step=0, max_wall_time=0.0, plugin_content=content, description="", display_name=""
    )


class LinesOnce(View):
    def __init__(self, provider: Any, folder: Path) -> None:
        super().__init__(provider, folder)
        self._sessions = Sessions(folder)
        self._drawing: tuple[float, set[str]] = (float("-inf"), set())

    def list_scalars(self, *context: Any, **asked: Any) -> Any:
        found = self._provider.list_scalars(*context, **asked)
        drawing = self._runs_that_draw(context, asked)
        return {
            run: {tag: of for tag, of in tags.items() if run in drawing or not tag.startswith(LINES)}
            for run, tags in found.items()
        }

    def _runs_that_draw(self, context: Any, asked: dict[str, Any]) -> set[str]:
        """Of the runs whose data differ by the seed alone the one in the middle, among those whose lines are long."""
        if time.monotonic() > self._drawing[0] + FRESH_S:
            about = {k: asked[k] for k in ("experiment_id", "plugin_name")}
            last = self._provider.read_last_scalars(*context, **about)
            data, families = self._sessions.data(), defaultdict[str, list[Any]](list)
            for run, tags in last.items():
                if lines := sorted((tag, d.value) for tag, d in tags.items() if tag.startswith(LINES)):
                    length = max(d.step for tag, d in tags.items() if tag.startswith(LINES))
                    families[data.get(run, run)].append((length, lines, run))
            drawing = set()
            for family in families.values():
                longest = sorted(one for one in family if one[0] == max(family)[0])
                drawing.add(longest[len(longest) // 2][2])
            self._drawing = time.monotonic(), drawing
        return self._drawing[1]


VIEWS = {
    HParamsPlugin: Hyperparameters,
    MetricsPlugin: Curves,
    ScalarsPlugin: Curves,
    CustomScalarsPlugin: LinesOnce,
}


def through(plugin: Any, view: type[View]) -> Any:
    """The plugin, with its data seen through a view."""

    class Seen(plugin):
        def __init__(self, context: Any) -> None:
            context = copy.copy(context)
            context.data_provider = view(context.data_provider, Path(context.logdir))
            super().__init__(context)

    Seen.__name__ = plugin.__name__
    return Seen


class Server(program.WerkzeugServer):
    """TensorBoard's own, for this machine alone."""

    def __init__(self, app: Any, flags: Any) -> None:
        super().__init__(local(app), flags)


def main() -> int:
    plugins = [through(p, VIEWS[p]) if p in VIEWS else p for p in default.get_plugins()]
    board = program.TensorBoard(plugins=plugins, server_class=Server)
    board.configure(["", *sys.argv[1:]])
    return int(board.main())


if __name__ == "__main__":
    sys.exit(main())
