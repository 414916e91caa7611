"""A sweep on Ray: the same bits as here, a node that is lost, a search, other programs."""

import os
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnnlab.cli import main
from rnnlab.config import check, compose
from rnnlab.errors import UserError
from rnnlab.runs.run import Run, runs
from rnnlab.sweeps import ray_pool
from rnnlab.sweeps.pool import LOST, WorkerHandle
from rnnlab.sweeps.worker import Step
from waiting import until

KEYS = {"address": None, "cpus": 1, "gpus": 0}
LINE = ("train", "-m", "experiment=sine", "data.n_points=300", "model.hidden_size=8,16", "seed=0,1",
        "callbacks=none", "logger=none")  # fmt: skip
LONG = ("trainer.max_epochs=3000", "checkpoint.every_n_steps=200")


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [("cpus", "0", "a number above 0"), ("cpus", "true", "a number above 0"), ("cpus", "nan", "a number above 0"),
     ("gpus", "-1", "a number of at least 0"), ("address", "[a]", "text or null")],
)  # fmt: skip
def test_a_wrong_value_is_named(key, value, why):
    with pytest.raises(UserError) as error:
        check(compose(["experiment=sine", f"sweep.ray.{key}={value}"]))
    assert error.value.args == (f"sweep.ray.{key}={value}: must be {why}",)


def test_a_wrong_key_is_named():
    with pytest.raises(UserError, match=r"sweep\.ray\.cpu: no such key\. Did you mean sweep\.ray\.cpus\?"):
        check(compose(["experiment=sine", "+sweep.ray.cpu=3"]))
    assert check(compose(["experiment=sine"]))["sweep"]["ray"] == KEYS


def test_an_address_where_nothing_listens_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for address in (None, "auto", "local", "ray://127.0.0.1:1", f"127.0.0.1:{port}"):
            ray_pool.require_answer(address)
    for address in (f"127.0.0.1:{port}", "127.0.0.1:99999", "nowhere.invalid:6379"):
        with pytest.raises(UserError, match=f"sweep.ray.address={address}: no cluster answers there"):
            ray_pool.require_answer(address)


def test_devices_are_the_clusters():
    assert list(ray_pool.cluster_devices({"ray": KEYS})) == ["cpu"]
    assert list(ray_pool.cluster_devices({"ray": KEYS | {"gpus": 0.25}})) == ["gpu", "cpu"]


class FakeRay:
    """One call of `wait` finds all there is; the worker has died, or does not answer."""

    class exceptions:  # noqa: N801
        class RayTaskError(Exception): ...

        class RayError(Exception): ...

        class ActorUnavailableError(RayError): ...

    def __init__(self, silent=False, alive=False, said="it died"):
        self.error = self.exceptions.ActorUnavailableError if silent else self.exceptions.RayError
        self.alive, self.said = alive, said

    def wait(self, refs, num_returns, timeout):
        return list(refs), []

    def get(self, ref):
        if ref == "training":
            raise self.error(self.said)
        return [(0, Step(0, 5))]

    def nodes(self):
        return [{"NodeID": "node", "Alive": self.alive}]

    def kill(self, actor): ...


def test_a_worker_has_the_cores_and_gpus_that_a_run_takes():
    def needs(kind, cores=1, gpus=1, **asked):
        pool = object.__new__(ray_pool.RayPool)
        pool.asked, pool.cores_each, pool.gpus_each = {"cpus": 1, "gpus": 0.25} | asked, cores, gpus
        return pool.needs(kind)

    assert needs("cpu") == "cpus 1" and needs("cpu", cpus=0.5) == "cpus 0.5"
    assert needs("cpu", cores=4) == "cpus 4" and needs("cpu", cores=2, cpus=3) == "cpus 3"
    assert needs("gpu", cores=4) == "cpus 1, gpus 0.25" and needs("gpu", gpus=2) == "cpus 1, gpus 2"


def pool_on(ray):
    pool = object.__new__(ray_pool.RayPool)
    pool.ray, pool.letters, pool.greetings, pool.trainings = ray, "letters", {}, {"training": 0}
    pool.died, pool.unsure, pool.nodes, pool.actors = {}, {}, {0: "node"}, {0: "actor"}
    pool.mailbox = SimpleNamespace(take=SimpleNamespace(remote=lambda: "letters"))
    return pool, WorkerHandle(0, "cpu")


def test_a_death_is_heard_beside_a_letter():
    pool, worker = pool_on(FakeRay())
    assert pool.ready([worker], 0.1) == [(worker, Step(0, 5)), (worker, None)]


def test_a_death_without_a_word_is_named_by_its_kind():
    pool, worker = pool_on(FakeRay(alive=True, said=""))
    pool.ready([worker], 0.1)
    assert pool.close(worker) == "RayError"


@pytest.mark.parametrize(("silent", "patience"), [(True, ray_pool.SILENT), (False, ray_pool.LATE)])
def test_a_worker_goes_once_it_is_known_whether_its_node_is_lost(silent, patience, monkeypatch):
    """A cluster notices a lost node only behind some silence; the sweep hears other workers meanwhile."""
    clock = [1000.0]
    monkeypatch.setattr(ray_pool, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    for noticed in (True, False):
        pool, worker = pool_on(FakeRay(silent, alive=True))
        assert (worker, None) not in pool.ready([worker], 0.1)
        clock[0] += patience - 1
        assert (worker, None) not in pool.ready([worker], 0.1)
        pool.ray.alive = not noticed
        clock[0] += 0 if noticed else 2
        assert (worker, None) in pool.ready([worker], 0.1)
        assert pool.close(worker) == (LOST if noticed or silent else "it died")


# ---------------------------------------------------------------------- on a real one


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with a core each, beside the driver's, which has none."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: sweeps on it are not tried")
    from ray.cluster_utils import Cluster

    # a node that says nothing for three seconds is lost
    system = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 6,
    }
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": system})
    found.nodes = [found.add_node(num_cpus=1), found.add_node(num_cpus=1)]
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


def content(folder: Path) -> dict[str, bytes]:
    return {run.folder.name: (run.folder / "metrics.csv").read_bytes() for run in runs(folder)}


def statuses(folder: Path) -> list[str]:
    return [run.known["status"] for run in runs(folder)]


def when_trained(folder: Path, do) -> "Future[None]":
    """Does it once a run under way has a checkpoint; the future's result comes behind that."""

    def under_way() -> bool:
        checkpoints = folder.glob("*/checkpoints/last.ckpt")
        return any(Run(file.parents[1]).known.get("status") == "running" for file in checkpoints)

    def wait() -> None:
        until(under_way)
        do()

    pool = ThreadPoolExecutor(1)
    watching = pool.submit(wait)
    pool.shutdown(wait=False)
    return watching


def test_the_bits_of_a_sweep_here(cluster, tmp_path, capsys):
    short = (*LINE, "trainer.max_epochs=5")
    assert not main([*short, f"paths.outputs={tmp_path / 'ray'}", "sweep.pool=ray"])
    assert "4 runs trained" in capsys.readouterr().out
    assert not main([*short, f"paths.outputs={tmp_path / 'here'}"])
    assert len(content(tmp_path / "here/sine")) == 4
    assert content(tmp_path / "ray/sine") == content(tmp_path / "here/sine")
    assert not main([*short, f"paths.outputs={tmp_path / 'ray'}", "sweep.pool=ray"])
    assert "4 runs, 4 finished already" in capsys.readouterr().out


def test_a_sweep_that_was_stopped_goes_on_elsewhere(cluster, tmp_path):
    line, folder = (*LINE, *LONG), tmp_path / "ray/sine"
    watching = when_trained(folder, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert main([*line, f"paths.outputs={tmp_path / 'ray'}", "sweep.pool=ray"]) == 143
    watching.result()
    assert "stopped" in statuses(folder)
    assert not main([*line, f"paths.outputs={tmp_path / 'ray'}"])  # here, what Ray has begun
    assert not main([*line, f"paths.outputs={tmp_path / 'whole'}"])
    assert content(folder) == content(tmp_path / "whole/sine")


def test_a_search_prunes(cluster, tmp_path, capsys):
    pytest.importorskip("optuna", reason="Optuna is not installed")
    words = [word for word in LINE if "hidden_size" not in word and "seed" not in word]
    assert not main(
        [*words, "model.hidden_size=choice(4,8)", "optimizer.lr=tag(log,interval(1e-4,1e-1))", "sweep.search=random",
         "sweep.trials=8", "sweep.prune=asha", "trainer.max_epochs=9", f"paths.outputs={tmp_path}", "sweep.pool=ray"]
    )  # fmt: skip
    found = statuses(tmp_path / "sine")
    assert len(found) == 8 and "pruned" in found and "finished" in found


def test_a_lost_node_costs_only_time(cluster, tmp_path):
    """The last test: a node is gone after it."""
    folder = tmp_path / "ray/sine"
    watching = when_trained(folder, lambda: cluster.remove_node(cluster.nodes[1], allow_graceful=False))
    assert not main([*LINE, *LONG, f"paths.outputs={tmp_path / 'ray'}", "sweep.pool=ray"])
    watching.result()
    assert statuses(folder) == ["finished"] * 4
    assert not main([*LINE, *LONG, f"paths.outputs={tmp_path / 'whole'}"])
    assert content(folder) == content(tmp_path / "whole/sine")
