"""A sweep on a real Slurm: packs, what is due, requeued jobs, a driver that leaves and comes back, a search."""

import importlib.util
import json
import os
import pty
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import slurm as real
from omegaconf import OmegaConf

import warm
from rnnlab.cli import main
from rnnlab.cli.train import with_sweep_options
from rnnlab.config import check, compose
from rnnlab.config.reading import shown
from rnnlab.config.texts import kept
from rnnlab.errors import UserError
from rnnlab.runs.files import write_json
from rnnlab.runs.lock import is_locked
from rnnlab.runs.run import Run, runs
from rnnlab.runs.run_path import Place
from rnnlab.sweeps import slurm
from rnnlab.sweeps.grid import grid
from rnnlab.sweeps.pack import Assigned, Pack, cut, refuse_others, surroundings
from waiting import PATIENCE, until

KEYS = {"minutes_per_job": 30, "minutes": 120, "cpus": 4, "gpus": 0, "memory_gb": None, "partition": None,
        "account": None, "setup": [], "parallel": 256, "detach": False, "more": {}}  # fmt: skip


def test_packs_take_their_minutes_and_no_more():
    assert cut([5, 5, 5, 5], 10, 99) == [[0, 1], [2, 3]]
    assert cut([50, 1, 1], 10, 99) == [[0], [1, 2]]  # a run that is too long has one for itself
    assert cut([1] * 7, 100, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert cut([], 10, 3) == []


def refused(section: str, **keys: object) -> list[str]:
    """What `check` says of a config with these keys in a section below `sweep`."""
    values = OmegaConf.to_container(compose(["experiment=sine"]), resolve=False)
    values["sweep"][section] |= keys
    with pytest.raises(UserError) as error:
        check(OmegaConf.create(values))
    return list(error.value.args)


WHOLE = "a whole number of at least 1"


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [("cpus", 0, WHOLE), ("cpus", 1.5, WHOLE), ("cpus", True, WHOLE), ("parallel", 0, WHOLE), ("minutes", 0.5, WHOLE),
     ("gpus", -1, "a whole number of at least 0"), ("minutes_per_job", 0, "a number above 0"),
     ("memory_gb", 0, "a number above 0 or null"), ("partition", [3], "text or null"),
     ("setup", "module load", "a list of lines of shell"), ("detach", "yes", "true or false"),
     ("more", [], "keys of sbatch, as in {qos:short}")],
)  # fmt: skip
def test_a_wrong_value_is_named(key, value, why):
    assert refused("slurm", **{key: value}) == [f"sweep.slurm.{key}={shown(value)}: must be {why}"]


def test_a_wrong_key_is_named():
    assert refused("slurm", partitoin="gpu", cpu=3) == [
        "sweep.slurm.partitoin: no such key. Did you mean sweep.slurm.partition?",
        "sweep.slurm.cpu: no such key. Did you mean sweep.slurm.cpus?",
    ]
    keys = check(compose(["experiment=sine"]))["sweep"]["slurm"]
    assert keys == KEYS


def test_an_account_of_digits_stays_text():
    assert kept(["sweep.slurm.account=007"]) == ["sweep.slurm.account='007'"]


@pytest.mark.parametrize("how", [(), ("sweep.pool=local",), ("sweep=slurm",)])
def test_a_dry_run_and_any_pool_refuse_a_wrong_key(how, tmp_path, capsys):
    asked = ["train", "-m", "experiment=sine", "seed=0,1", "+sweep.slurm.partitoin=gpu", *how, "--dry-run"]
    assert main([*asked, f"paths.outputs={tmp_path}"]) == 2
    assert (
        "sweep.slurm.partitoin: no such key. Did you mean sweep.slurm.partition?" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 20), (4, 80), (120, 90)])
def test_a_short_job_has_most_of_its_time_before_it_must_end(minutes, seconds, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")  # sbatch is not called
    asked = slurm.executor(tmp_path, KEYS | {"minutes": minutes}, "sine")
    assert f"#SBATCH --signal=USR2@{seconds}\n" in asked._make_submission_file_text("true", "1")


def of(kind="cpu", **trainer):
    return types.SimpleNamespace(
        accelerator=kind,
        config={"trainer": {"threads": None, "devices": "auto", "accelerator": kind} | trainer},
    )


def test_a_run_takes_as_many_cores_and_gpus_of_a_job_as_of_this_machine():
    def workers(*due, gpus=0, cpus=8):
        options = {"slurm": KEYS | {"cpus": cpus, "gpus": gpus}, "workers_per_gpu": 3}
        return slurm.workers_per_job(options, due)

    assert workers(of()) == 8 and workers(of(threads=2), of()) == 4 and workers(of(devices=2)) == 4
    assert workers(of(devices=2, threads=3)) == 1
    assert workers(of("gpu"), gpus=4) == 12 and workers(of("gpu", devices=2), gpus=4) == 6
    # on cores, of a job that has GPUs, too
    assert workers(of(threads=4), gpus=4) == 2 and workers(of("gpu"), of(threads=4), gpus=4) == 2
    with pytest.raises(UserError, match=r"sweep.slurm.cpus=1: a run needs 2 cores"):
        workers(of(devices=2), cpus=1)
    with pytest.raises(UserError, match=r"sweep.slurm.gpus=1: a run needs 2 GPUs"):
        workers(of("gpu", devices=2), gpus=1)


def test_a_dry_run_counts_the_workers_of_all_jobs():
    def at_once(workers=None, parallel=256):
        options = {"slurm": KEYS | {"parallel": parallel}, "workers_per_gpu": 1, "workers": workers}
        due = [types.SimpleNamespace(cost=3600.0, **vars(of())) for _ in range(10)]
        return slurm.workers_at_once(options, due)

    assert at_once() == 5 * 4  # jobs of half an hour on four cores
    assert at_once(parallel=2) == 2 * 4 and at_once(workers=1) == 10


def test_a_cluster_is_named_once_in_a_folder_of_ones_own(tmp_path, capsys):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(
        "defaults: [slurm]\nslurm: {partition: gpu, setup: [module load gcc]}\n"
    )
    found = compose(["experiment=sine", "sweep=mine", "sweep.slurm.minutes=7"], tmp_path).sweep
    assert found.pool == "slurm" and found.slurm.partition == "gpu" and found.slurm.minutes == 7
    assert found.slurm.setup == ["module load gcc"] and found.slurm.cpus == 4 and found.trials == 100
    assert compose(["experiment=sine"]).sweep.pool == "local" and compose(["sweep=ray"]).sweep.pool == "ray"
    # it says nothing of a run: neither in its name nor in what it was asked
    where = grid(["sweep=slurm", "seed=0,1"], lambda key: key in ("sweep", "experiment"))
    assert [[a.text for a in point] for point in where] == [["seed=0"], ["seed=1"]]
    with pytest.raises(UserError, match="cannot be swept themselves"):
        grid(["sweep=slurm,local"], lambda key: key == "sweep")
    assert with_sweep_options(["-m", "--detach", "--help"]) == ["-m", "--help", "sweep.slurm.detach=true"]
    with pytest.raises(UserError, match="--detach: is for a sweep on Slurm"):
        with_sweep_options(["--detach", "seed=1"])


def test_another_program_trains_nothing():
    refuse_others(surroundings(), surroundings())
    other = surroundings() | {"torch": "1.0"}
    with pytest.raises(UserError, match=r"has other software: torch .* \(planned with 1\.0\)"):
        Pack([], [], 1, other)()


def test_a_job_gives_each_run_as_many_gpus_as_it_has_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    runs = [Assigned(Place(tmp_path, "a", "a", ""), of("gpu", devices=n).config) for n in (1, 2)]
    found = Pack(runs, [], 2, {}, renew_mb=3).options(runs)
    assert (found.gpus, found.gpus_each, found.renew_bytes) == (4, 2, 3 * 2**20)


def test_a_stale_run_is_trained_again_once_however_often_its_job_is_queued(tmp_path):
    def assigned(name, **record):
        place = Place(tmp_path / name, name, name, "")
        write_json(tmp_path / name / "run.json", {"id": name} | record)
        return Assigned(place, {}, [], record["status"], record.get("ended"))

    for name in "abc":
        (tmp_path / name).mkdir()
    stale = [assigned(name, status="finished", ended="yesterday") for name in "abc"]
    pack = Pack(stale, [], 1, {}, restart=True)
    assert pack.due() == stale
    assigned("a", status="finished", ended="today"), assigned("b", status="running")
    assert [(one.place.id, one.status) for one in pack.due()] == [("b", ""), ("c", "finished")]
    assert [one.place.id for one in Pack(stale, [], 1, {}).due()] == ["b"]


def test_a_run_in_a_job_gets_all_its_gpus(tmp_path, monkeypatch):
    from rnnlab.sweeps import forkserver, scheduler

    class Given:
        stopping = ""

        def __init__(self, pool, options, view, command):
            self.options = options

        def run(self, due, restart):
            return {}

    monkeypatch.setattr(scheduler, "Scheduler", Given)
    monkeypatch.setattr(forkserver, "ForkServer", lambda: types.SimpleNamespace(close=lambda: None))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    pack = Pack([Assigned(Place(tmp_path / "a", "a", "a", ""), of("gpu", devices=2).config)], [], 2, {})
    pack()
    assert (pack._scheduler.options.gpus, pack._scheduler.options.gpus_each) == (4, 2)


def test_a_finished_run_with_rerun_begins_again_in_its_job_and_resumes_where_that_is_queued_again(tmp_path):
    run = Run(tmp_path / "a")
    run.folder.mkdir()

    def record(**about):
        write_json(run.folder / "run.json", {"id": "a"} | about)

    record(status="finished", ended="yesterday", created="before")
    place, config = Place(run.folder, "a", "a", ""), {"rerun": True}
    pack = Pack([Assigned(place, config, [], "finished", "yesterday", "before")], [], 1, {})
    assert pack.due() == pack.runs
    record(status="running", created="today")  # its job's time is over, or its node was lost
    assert [(one.status, one.config) for one in pack.due()] == [("", {"rerun": False})]
    record(status="finished", ended="today", created="today")
    assert pack.due() == []


SBATCH = """#!/bin/bash
place=$(dirname "$(sed -n 's/^#SBATCH --output=//p' "$1" | sed 's/%[Aaj]/7/g')")
[ -d "$place" ] || { echo "no folder $place" >&2; exit 1; }
{then}
"""


def sbatch(folder, then):
    """An executor whose sbatch first looks whether the folder is there to which a job prints as soon as it begins."""
    (folder / "bin").mkdir()
    for name, text in (("sbatch", SBATCH.replace("{then}", then)), ("srun", "#!/bin/sh\n")):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    return slurm.executor(folder / "outputs" / slurm.FOLDER, KEYS, "sine")


def test_a_job_may_begin_before_sbatch_has_answered(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    batch = sbatch(tmp_path, "echo Submitted batch job 7")
    assert slurm.submit(batch, [len]) == ["7"] and slurm.submit(batch, [len, len]) == ["7_0", "7_1"]


def test_what_sbatch_refuses_is_said_once(tmp_path, monkeypatch, capfd):
    pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(UserError, match=r"no job could be submitted: sbatch: error: no such partition$"):
        slurm.submit(sbatch(tmp_path, "echo 'sbatch: error: no such partition' >&2; exit 1"), [len])
    assert capfd.readouterr() == ("", "")


def test_without_slurm_a_line_says_so(tmp_path, monkeypatch, capsys):
    pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*LINE, f"paths.outputs={tmp_path / 'outputs'}"]) == 2
    assert "sweep.pool=slurm: Slurm's command sinfo does not run here" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


# ---------------------------------------------------------------------- on a real one


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if why := real.why_not():
        pytest.skip(f"{why}: sweeps on Slurm are not tried")
    pytest.importorskip("submitit", reason="submitit is not installed: sweeps on Slurm are not tried")
    folder = tmp_path_factory.mktemp("slurm")
    found = real.start(folder)
    before = {key: os.environ.get(key) for key in found}
    os.environ.update(found)
    yield found
    subprocess.run(["scancel", "--user=root"], check=False)
    real.stop(folder)
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.update({key: value})


LINE = ["train", "-m", "experiment=sine", "sweep.pool=slurm", "sweep.slurm.cpus=2", "trainer.max_steps=60",
        "data.n_points=300", "model.hidden_size=4,8,12", "seed=0"]  # fmt: skip
LONG = ["model.hidden_size=128", "seed=0", "checkpoint.every_seconds=600", "trainer.log_every_n_steps=50"]
STEPS = "trainer.max_steps=12000"


def local(words):
    return [w for w in words if not w.startswith("sweep.")]


def jobs_of(folder: Path):
    return json.loads((folder / "sine" / ".slurm" / "jobs.json").read_text())["jobs"]


def state(job):
    said = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
    return dict(word.partition("=")[::2] for word in said.split() if "=" in word)


def queued_again(job):
    return int(state(job).get("Restarts", 0)) > 0


def began_again(job, outputs):
    """Whether a job that is queued again trains, or has. Slurm would have it wait for two minutes.

    It must not come back before its old processes have ended, or it finds its run taken. Where a node has failed, Slurm
    does not wait for what ran there, and drains the node where the job comes back too early: both are asked for again.
    Nor may it come back within the second in which it was ended: its credential, dated in seconds, counts as revoked.
    """
    now = state(job).get("JobState")
    trains = any(is_locked(run.folder) for run in runs(outputs / "sine", lambda line: None))
    if now == "COMPLETED" or (now == "RUNNING" and trains):
        return True
    if now == "PENDING" and not trains:
        time.sleep(1.5)
        for words in (["update", "NodeName=ALL", "State=RESUME"], ["release", job],
                      ["update", f"JobId={job}", "StartTime=now"]):  # fmt: skip
            subprocess.run(["scontrol", *words], check=False, capture_output=True)
    return False


def statuses(folder):
    return (
        [run.status for run in runs(folder / "sine", lambda line: None)] if (folder / "sine").is_dir() else []
    )


def curves(folder):
    return {run.folder.name: (run.status, run.metrics_file.read_bytes()) for run in runs(folder / "sine")}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What a sweep on this machine, which nothing befalls, gives for the longer run of the tests below."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert main([*local([*LINE[:5], *LONG, STEPS]), f"paths.outputs={folder}"]) == 0
    return curves(folder)


def test_a_sweep_has_the_bits_of_one_on_this_machine_and_is_due_once(cluster, tmp_path, capsys):
    # packs of one run, so that three are more than Slurm's limit of an array
    here, there = tmp_path / "here", tmp_path / "there"
    line = [*LINE, "sweep.slurm.minutes_per_job=0.000001"]
    assert main([*line, f"paths.outputs={there}"]) == 0
    said = capsys.readouterr().out
    assert "3 runs in 3 packs, array jobs " in said and "3 runs trained" in said and "hidden_size=8" in said
    assert main([*local(LINE), f"paths.outputs={here}"]) == 0
    ours, theirs = runs(here / "sine"), runs(there / "sine")
    assert len(ours) == len(theirs) == 3
    for run in ours:
        twin = there / "sine" / run.folder.name
        assert (twin / "metrics.csv").read_bytes() == run.metrics_file.read_bytes()
    before = jobs_of(there)
    assert main([*line, f"paths.outputs={there}"]) == 0
    assert jobs_of(there) == before and "3 finished already" in capsys.readouterr().out


def test_what_a_local_sweep_left_goes_on_in_a_job_and_a_driver_that_left_finds_it_again(
    cluster, unbroken, tmp_path, capsys
):
    words = [*LINE[:5], *LONG, STEPS, f"paths.outputs={tmp_path / 'a'}"]
    process = warm.Popen([sys.executable, "-m", "rnnlab", *local(words)], stdout=subprocess.DEVNULL)
    until(lambda: "running" in statuses(tmp_path / "a"))
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert "stopped" in statuses(tmp_path / "a")
    assert main([*words, "--detach"]) == 0
    assert "the same command without --detach" in capsys.readouterr().out
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "1 of these runs is in jobs that were submitted before" in said or "1 finished already" in said
    assert curves(tmp_path / "a") == unbroken


@pytest.mark.parametrize("how", ["time", "preempted", "requeue", "down"])
def test_a_job_whose_time_is_over_or_whose_node_fails_is_queued_again_and_its_runs_go_on(
    cluster, unbroken, tmp_path, how
):
    words = [*LINE[:5], *LONG, STEPS, f"paths.outputs={tmp_path / 'a'}"]
    assert main([*words, "sweep.slurm.detach=true"]) == 0
    (job,) = jobs_of(tmp_path / "a")
    until(lambda: "running" in statuses(tmp_path / "a"))
    time.sleep(1)
    if how == "time":  # what Slurm sends before the limit
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
    elif how == "preempted":  # the job ends within the grace time, so that Slurm would call it completed
        subprocess.run(["scancel", "--signal=TERM", job], check=True)
    elif how == "requeue":
        subprocess.run(["scontrol", "requeue", job], check=True)
    else:
        node = state(job)["NodeList"]
        subprocess.run(["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test"], check=True)
    until(lambda: queued_again(job) or state(job).get("JobState") in ("COMPLETED", "FAILED"))
    assert queued_again(job)
    until(lambda: began_again(job, tmp_path / "a"))
    assert main(words) == 0  # watches it
    assert curves(tmp_path / "a") == unbroken


SEARCH = ["train", "-m", "experiment=sine", "data.n_points=300", "callbacks=none", "logger=none", "sweep.search=random",
          "optimizer.lr=tag(log,interval(1e-4,1e-1))"]  # fmt: skip


def test_a_search_prunes_in_jobs(cluster, tmp_path, capsys):
    pytest.importorskip("optuna", reason="Optuna is not installed")
    words = [
        *SEARCH,
        "model.hidden_size=choice(4,8)",
        "sweep.trials=8",
        "sweep.prune=asha",
        "trainer.max_epochs=9",
    ]
    assert main([*words, "sweep=slurm", "sweep.slurm.cpus=2", f"paths.outputs={tmp_path}"]) == 0
    found = [run.status for run in runs(tmp_path / "sine")]
    assert len(found) == 8 and {"pruned", "finished"} == set(found)
    assert until(lambda: not subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout.strip())


def warned_under_way(outputs, told="USR2"):
    """The only job in the queue, once it trains and was told that its time is over, and is queued again."""
    until(lambda: "running" in statuses(outputs))
    time.sleep(1)
    (job,) = subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True).stdout.split()
    subprocess.run(["scancel", f"--signal={told}", job], check=True)
    until(lambda: queued_again(job))
    return job


SEARCH_LONG = [*SEARCH, "model.hidden_size=96", "sweep.search_order=deterministic", "sweep.search_batch=2",
               "sweep.trials=2", "trainer.max_epochs=-1", "trainer.max_steps=4000", LONG[2]]  # fmt: skip


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """What a search on this machine gives for the same words."""
    pytest.importorskip("optuna", reason="Optuna is not installed")
    folder = tmp_path_factory.mktemp("searched")
    assert main([*SEARCH_LONG, f"paths.outputs={folder}"]) == 0
    return curves(folder)


@pytest.mark.parametrize("told", ["USR2", "TERM"])
def test_a_search_whose_job_is_queued_again_has_the_bits_of_one_on_this_machine(
    cluster, searched, tmp_path, told
):
    there = [*SEARCH_LONG, "sweep=slurm", "sweep.slurm.cpus=2", f"paths.outputs={tmp_path / 'a'}"]
    driver = warm.Popen([sys.executable, "-m", "rnnlab", *there], stdout=subprocess.PIPE, text=True)
    job = warned_under_way(tmp_path / "a", told)
    until(lambda: began_again(job, tmp_path / "a"))
    said, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0 and "2 trials: 2 complete" in said
    assert curves(tmp_path / "a") == searched


def test_a_search_whose_job_is_cancelled_leaves_checkpoints_and_goes_on(cluster, searched, tmp_path):
    there = [*SEARCH_LONG, "sweep=slurm", "sweep.slurm.cpus=2", f"paths.outputs={tmp_path / 'a'}"]
    driver = warm.Popen([sys.executable, "-m", "rnnlab", *there], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        text=True)  # fmt: skip
    until(lambda: "running" in statuses(tmp_path / "a"))
    time.sleep(1)
    (job,) = subprocess.run(["squeue", "-h", "-o", "%A"], capture_output=True, text=True).stdout.split()
    subprocess.run(["scancel", job], check=True)
    _, wrong = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 2 and f"job {job} was cancelled; the same command goes on" in wrong
    assert set(statuses(tmp_path / "a")) == {"stopped"}
    assert main(there) == 0
    assert curves(tmp_path / "a") == searched


@pytest.mark.skipif(
    not importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher"), reason="needs rnnlab[launchers]"
)
def test_a_stock_job_whose_time_is_over_goes_on(cluster, tmp_path):
    words = ["train", "-m", *LINE[2:3], "data.n_points=300", "callbacks=none", *LONG[:3], "trainer.accelerator=cpu",
             "trainer.max_epochs=-1", "trainer.max_steps=4000"]  # fmt: skip
    there = [*words, "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=60", "hydra.launcher.mem_gb=null",
             f"paths.outputs={tmp_path / 'a'}"]  # fmt: skip
    driver = warm.Popen([sys.executable, "-m", "rnnlab", *there], stdout=subprocess.PIPE, text=True)
    job = warned_under_way(tmp_path / "a")
    (run,) = runs(tmp_path / "a" / "sine")
    assert run.status == "stopped" and run.record["why"].startswith("SIGUSR2 at step ")
    until(lambda: began_again(job, tmp_path / "a"))
    said, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0 and said.count("best loss/val") == 1
    assert main([*words, f"paths.outputs={tmp_path / 'b'}"]) == 0
    assert curves(tmp_path / "a") == curves(tmp_path / "b")


@pytest.mark.parametrize(("answer", "left"), [("y", False), ("n", True)])
def test_ctrl_c_asks_whether_to_cancel_the_jobs(cluster, tmp_path, answer, left):
    words = [*LINE[:5], *LONG, "trainer.max_epochs=-1", "trainer.max_steps=4000", f"paths.outputs={tmp_path}"]
    here, there = pty.openpty()
    driver = warm.Popen([sys.executable, "-m", "rnnlab", *words], stdin=there, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)  # fmt: skip
    until(lambda: "running" in statuses(tmp_path))
    (job,) = jobs_of(tmp_path)
    driver.send_signal(signal.SIGINT)
    os.write(here, f"{answer}\n".encode())
    said, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130 and "Cancel the job? [y/N]" in said
    assert ("cancelled 1 job" in said) is not left and ("the jobs go on" in said) is left
    if left:
        assert state(job)["JobState"] in ("RUNNING", "COMPLETED")
    else:
        until(lambda: state(job).get("JobState") == "CANCELLED")
    subprocess.run(["scancel", job], check=True)
    os.close(here), os.close(there)


def test_a_driver_that_is_told_to_end_leaves_the_jobs(cluster, tmp_path):
    words = [*LINE[:5], *LONG, "trainer.max_epochs=-1", "trainer.max_steps=4000", f"paths.outputs={tmp_path}"]
    driver = warm.Popen([sys.executable, "-m", "rnnlab", *words], stdout=subprocess.PIPE, text=True)
    until(lambda: "running" in statuses(tmp_path))
    driver.send_signal(signal.SIGTERM)
    said, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 143 and "the jobs go on" in said
    assert "Stopped (SIGTERM) with 1 run left; the same command resumes it." in said
    assert main(words) == 0 and statuses(tmp_path) == ["finished"]


def test_runs_whose_jobs_somebody_cancels_have_not_failed(cluster, tmp_path):
    """One of them trains, the other's job has not begun."""
    words = [*LINE[:5], *LONG, "trainer.max_epochs=-1", "trainer.max_steps=40000", "seed=0,1", "sweep.slurm.parallel=1",
             "sweep.slurm.minutes_per_job=0.000001", f"paths.outputs={tmp_path}"]  # fmt: skip
    driver = warm.Popen([sys.executable, "-m", "rnnlab", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        text=True)  # fmt: skip
    until(lambda: "running" in statuses(tmp_path))
    time.sleep(1)
    subprocess.run(["scancel", *jobs_of(tmp_path)], check=True)
    said, wrong = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 1 and wrong == "" and "failed" not in said
    assert "Stopped (cancelled) with 2 runs left; the same command resumes them." in said
    assert statuses(tmp_path) == ["stopped"]


def test_a_job_that_ends_without_its_runs_is_told_of(cluster, tmp_path, capsys):
    words = [*LINE, f"paths.outputs={tmp_path}", "sweep.slurm.setup=['exit 3']"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert (
        "ended before the run did: it printed nothing; Slurm says FAILED, exit code 3:0"
        in said.out + said.err
    )
