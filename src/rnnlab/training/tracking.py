"""rnnlab's loggers for Trackio, for which Lightning has none, and for Comet: Lightning's own (2.6) disables the
experiment offline.
"""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from lightning.pytorch.loggers.logger import Logger


class Tracker(Logger):
    """A logger that passes single steps to a tracker's package. `version`: the argument by which a resume continues."""

    def __init__(self, project: str, run_name: str) -> None:
        super().__init__()
        self.project, self.run_name, self.config = project, run_name, dict[str, Any]()
        self._run: Any = None

    @property
    def name(self) -> str:
        return self.project

    @property
    def experiment(self) -> Any:
        """The package's run; it starts at the first access."""
        if self._run is None:
            self._run = self.start()
        return self._run

    @abstractmethod
    def start(self) -> Any:
        """Starts the package's run, or continues it."""

    @abstractmethod
    def log(self, metrics: Mapping[str, float], step: int | None) -> None: ...

    def log_hyperparams(self, params: Any = None, *_: Any, **__: Any) -> None:
        self.config |= dict(params or {})

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.log({name: float(value) for name, value in metrics.items() if name != "epoch"}, step)


class Trackio(Tracker):
    """Writes into the folder that TRACKIO_DIR names, or Trackio's own; `trackio show` reads it.

    With `resume="allow"` a run of this name is continued. With `log_model` it also gets the best checkpoint.
    """

    def __init__(
        self,
        project: str,
        run_name: str,
        group: str | None = None,
        resume: str = "never",
        space_id: str | None = None,
        log_model: bool = False,
    ) -> None:
        super().__init__(project, run_name)
        self.group, self.resume, self.space_id, self.log_model = group, resume, space_id, log_model

    @property
    def version(self) -> str:
        return "allow"

    def start(self) -> Any:
        import trackio

        with redirect_stdout(StringIO()):  # it prints its folder each time
            return trackio.init(project=self.project, name=self.run_name, group=self.group, resume=self.resume,
                                space_id=self.space_id, config=self.config, embed=False,
                                auto_log_gpu=False, auto_log_cpu=False)  # fmt: skip

    def log(self, metrics: Mapping[str, float], step: int | None) -> None:
        self.experiment.log(dict(metrics), step=step)

    def seen(self, names: set[str]) -> dict[str, int]:
        """{metric: the last step that Trackio has} for `names`."""
        from trackio.sqlite_storage import SQLiteStorage

        _ = self.experiment
        found: dict[str, int] = {}
        for row in SQLiteStorage.get_logs(self.project, self.run_name):
            found |= {name: int(row["step"]) for name in names & row.keys()}
        return found

    def end(self, status: str, scores: Mapping[str, float]) -> None:
        import trackio

        self.experiment.log({**scores, "status": status})
        with redirect_stdout(StringIO()):
            trackio.finish()  # ends the latest run of the process, which is this one
        self._run = None


class Comet(Tracker):
    """Sends to Comet's server, or with `online=false` writes an archive into `offline_directory`, for `comet upload`.

    `experiment_key` is the key of a run to continue. With `log_model` it also gets the best checkpoint.
    """

    def __init__(
        self,
        project: str,
        run_name: str,
        online: bool = True,
        offline_directory: str | None = None,
        workspace: str | None = None,
        experiment_key: str | None = None,
        log_model: bool = False,
    ) -> None:
        super().__init__(project, run_name)
        self.online, self.offline_directory, self.log_model = online, offline_directory, log_model
        self.workspace, self.experiment_key = workspace, experiment_key

    @property
    def version(self) -> str:
        return self.experiment.get_key()

    def start(self) -> Any:
        import os

        os.environ.setdefault("COMET_DISABLE_AUTO_LOGGING", "1")  # Comet would patch torch
        import comet_ml

        config = comet_ml.ExperimentConfig(
            name=self.run_name, offline_directory=self.offline_directory, log_code=False, log_git_metadata=False,
            log_git_patch=False, log_env_details=False, parse_args=False, auto_output_logging=None,
            display_summary_level=0,
        )  # fmt: skip
        again = self.online and self.experiment_key is not None
        return comet_ml.start(project=self.project, workspace=self.workspace, online=self.online,
                              experiment_key=self.experiment_key, mode="get_or_create" if again else "create",
                              experiment_config=config)  # fmt: skip

    def log_hyperparams(self, params: Any = None, *_: Any, **__: Any) -> None:
        self.experiment.log_parameters({name: str(value) for name, value in dict(params or {}).items()})

    def log(self, metrics: Mapping[str, float], step: int | None) -> None:
        self.experiment.log_metrics(dict(metrics), step=step)

    def end(self, status: str, scores: Mapping[str, float]) -> None:
        self.experiment.log_metrics(dict(scores))
        self.experiment.log_other("status", status)
        self.experiment.end()
        self._run = None
