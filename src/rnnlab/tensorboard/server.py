"""The TensorBoard server of `rnnlab board`, which also reads run.json and configs:
`python -m rnnlab.tensorboard.server`.

TensorBoard's tabs read data through a data provider. Here they get providers that change what is listed:

* all tabs but HParams: of more than 40 runs only those of the best configurations (`rnnlab.tensorboard.offered`),
  unless the first argument is --all;
* HParams: sessions from each run.json (`rnnlab.tensorboard.sessions`);
* Time Series and Scalars: curves only. Single values are in HParams, constants in Custom Scalars;
* Custom Scalars: baselines and floor once for all seeds of a data set, and not for every run.
"""

import copy
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tensorboard.backend.application import make_plugin_loader
from tensorboard.data.provider import TensorTimeSeries
from tensorboard.plugins.base_plugin import TBLoader
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.plugins.metrics.metrics_plugin import MetricsPlugin
from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin

from rnnlab.tensorboard import webfiles
from rnnlab.tensorboard.hosts import local
from rnnlab.tensorboard.offered import Offer, offer
from rnnlab.tensorboard.sessions import FRESH_S, Sessions
from tensorboard import default, program

POINTS = ("best/", "last/", "excess/", "test/", "run/")
LINES = "reference/"
EDGES = (".low", ".high")  # tags of a band's edges


class Shared:
    """Data about the runs below a folder, shared by all views."""

    def __init__(self, folder: Path) -> None:
        self.sessions = Sessions(folder)
        self._offer: tuple[float, Offer | None] = (float("-inf"), None)

    def offered(self) -> frozenset[str] | None:
        if time.monotonic() > self._offer[0] + FRESH_S:
            self._offer = (time.monotonic(), offer(self.sessions))
        return self._offer[1] and self._offer[1].names


class View:
    """A data provider that wraps another one, and changes what it lists."""

    def __init__(self, provider: Any, shared: Shared) -> None:
        self._provider, self._shared = provider, shared

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)


class Offered(View):
    """Lists only the chosen runs (`rnnlab.tensorboard.offered`)."""

    every = False  # list all runs

    def _kept(self, runs: Mapping[str, Any]) -> dict[str, Any]:
        names = None if self.every else self._shared.offered()
        return {run: of for run, of in runs.items() if names is None or run in names}

    def list_runs(self, *context: Any, **asked: Any) -> Any:
        found = self._provider.list_runs(*context, **asked)
        kept = self._kept({run.run_name: run for run in found})
        return [run for run in found if run.run_name in kept]

    def list_scalars(self, *context: Any, **asked: Any) -> Any:
        return self._kept(self._provider.list_scalars(*context, **asked))

    def list_tensors(self, *context: Any, **asked: Any) -> Any:
        return self._kept(self._provider.list_tensors(*context, **asked))

    def list_blob_sequences(self, *context: Any, **asked: Any) -> Any:
        return self._kept(self._provider.list_blob_sequences(*context, **asked))


class Curves(Offered):
    def list_scalars(self, *context: Any, **asked: Any) -> Any:
        return {
            run: {
                t: of
                for t, of in tags.items()
                if not t.startswith((*POINTS, LINES)) and not t.endswith(EDGES)
            }
            for run, tags in super().list_scalars(*context, **asked).items()
        }


class Hyperparameters(View):
    def list_tensors(self, *context: Any, **asked: Any) -> Any:
        found = dict(self._provider.list_tensors(*context, **asked))
        if asked.get("plugin_name") == "hparams":
            for run, tags in self._shared.sessions.contents().items():
                found[run] = {tag: _series(content) for tag, content in tags.items()}
        return found


def _series(content: bytes) -> TensorTimeSeries:
    return TensorTimeSeries(
        max_step=0, max_wall_time=0.0, plugin_content=content, description="", display_name=""
    )


class LinesOnce(Offered):
    def __init__(self, provider: Any, shared: Shared) -> None:
        super().__init__(provider, shared)
        self._drawing: tuple[float, set[str]] = (float("-inf"), set())

    def list_scalars(self, *context: Any, **asked: Any) -> Any:
        found = super().list_scalars(*context, **asked)
        drawing = self._runs_that_draw(context, asked)
        return {
            run: {tag: of for tag, of in tags.items() if run in drawing or not tag.startswith(LINES)}
            for run, tags in found.items()
        }

    def _runs_that_draw(self, context: Any, asked: dict[str, Any]) -> set[str]:
        """For each data set (apart from the seed) the run that draws the lines: the middle one of the long ones."""
        if time.monotonic() > self._drawing[0] + FRESH_S:
            about = {k: asked[k] for k in ("experiment_id", "plugin_name")}
            last = self._kept(self._provider.read_last_scalars(*context, **about))
            data, families = self._shared.sessions.data(), defaultdict[str, list[Any]](list)
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


class Seen(TBLoader):
    """Loads a plugin that reads its data through a view."""

    def __init__(self, plugin: Any, shared: Callable[[Path], Shared]) -> None:
        self._shared = shared
        self._loader = make_plugin_loader(plugin)
        self._view = VIEWS.get(plugin if isinstance(plugin, type) else type(plugin), Offered)

    def define_flags(self, parser: Any) -> None:
        self._loader.define_flags(parser)

    def fix_flags(self, flags: Any) -> None:
        self._loader.fix_flags(flags)

    def load(self, context: Any) -> Any:
        context = copy.copy(context)
        context.data_provider = self._view(context.data_provider, self._shared(Path(context.logdir)))
        return self._loader.load(context)


class Server(program.WerkzeugServer):
    """TensorBoard's own server, for requests from this machine only."""

    def __init__(self, app: Any, flags: Any) -> None:
        super().__init__(local(app), flags)


def main() -> int:
    asked = sys.argv[1:]
    Offered.every = asked[:1] == ["--all"]
    shared = cache(Shared)
    plugins = [Seen(plugin, shared) for plugin in default.get_plugins()]
    board = program.TensorBoard(plugins, webfiles.provider(), Server)
    board.configure(["", *asked[Offered.every :]])
    return int(board.main())


if __name__ == "__main__":
    sys.exit(main())
