"""A disk that is full and a folder that goes away: one line, and the last good checkpoint as it was."""

import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from test_kills import RUN

import rnnlab
from remains import mismatches
from rnnlab.cli import main
from rnnlab.runs.checksum import checksum_error
from tortures.death import ended, fork
from waiting import PATIENCE


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An unbroken training, here, so that its children have all modules: one without privileges may not read them."""
    folder = tmp_path_factory.mktemp("whole")
    rnnlab.train(*RUN, f"paths.outputs={folder}")
    return folder / "sine"


def test_a_full_disk_and_then_room_again(whole, tmp_path):
    folder, log = tmp_path / "full", tmp_path / "log"

    def small_files() -> int:
        at_step(9, lambda run: resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500)))
        return main(["train", *RUN, f"paths.outputs={folder}"])

    assert ended(fork(small_files, log)) == 1
    said = [line for line in log.read_text().splitlines() if "disk is full" in line]
    assert len(said) == 1 and "Traceback" not in log.read_text()
    (run,) = rnnlab.runs(folder / "sine")
    assert checksum_error(run.last_checkpoint) == "" and run.status in ("failed", "running")
    rnnlab.train(*RUN, f"paths.outputs={folder}")
    assert mismatches(whole, folder / "sine") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_exit_codes_of_interruptions(tmp_path, number, code):
    words = [*RUN, "+callbacks.stop._target_=stopping.StopAt", "+callbacks.stop.step=5",
             f"+callbacks.stop.number={int(number)}", f"paths.outputs={tmp_path}"]  # fmt: skip
    import sys

    def work() -> int:
        sys.path.append(str(Path(__file__).parents[1] / "training"))
        return main(["train", *words])

    assert ended(fork(work, tmp_path / "log")) == code
    (run,) = rnnlab.runs(tmp_path / "sine")
    assert run.status == "stopped" and checksum_error(run.last_checkpoint) == ""


def test_a_folder_deleted_while_running(tmp_path):
    def work() -> int:
        import rnnlab.training.checkpoints as checkpoints

        save = checkpoints.Checkpoints.save

        def gone(self, trainer, task):
            shutil.rmtree(self.run.folder)
            save(self, trainer, task)

        checkpoints.Checkpoints.save = gone
        return main(["train", *RUN, f"paths.outputs={tmp_path}"])

    assert ended(fork(work, tmp_path / "log")) == 1
    said = (tmp_path / "log").read_text()
    assert "the folder was deleted while its run was training" in said and "Traceback" not in said
    assert not any(p.is_dir() and list(p.iterdir()) for p in tmp_path.glob("sine/*"))


@pytest.fixture
def anybodys():
    """A folder that a user without privileges can reach, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="rnnlab-test-"))
    folder.chmod(0o777)
    yield folder
    subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)
    shutil.rmtree(folder)


def unprivileged(work):
    """`work` without root's right to write everywhere; who is not root has none."""

    def done() -> int:
        if os.geteuid() == 0:
            os.setegid(65534), os.seteuid(65534)
        return work()

    return done


def at_step(step: int, do) -> None:
    """From here on in this process, every training does `do(run)` before its batch behind `step`."""
    from lightning.pytorch import Callback

    import rnnlab.training.stages as training

    class Do(Callback):
        patient = True

        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == step:
                do(rnnlab.Run(Path(trainer.default_root_dir)))

    make = training.make_trainer
    training.make_trainer = lambda *a, **k: make(*a, **(k | {"callbacks": [Do(), *k["callbacks"]]}))


def test_a_read_only_folder_is_said_before_any_work(whole, anybodys, tmp_path):
    outputs = anybodys / "outputs"
    outputs.mkdir(mode=0o555)
    outputs.chmod(0o555)
    code = ended(
        fork(unprivileged(lambda: main(["train", *RUN, f"paths.outputs={outputs}"])), tmp_path / "log")
    )
    (said,) = (tmp_path / "log").read_text().splitlines()
    assert code == 2 and said.startswith("paths.outputs: cannot ") and str(outputs) in said
    assert "Permission denied" in said and list(outputs.iterdir()) == []


def test_a_folder_that_becomes_read_only_and_writable_again(whole, anybodys, tmp_path):
    def work() -> int:
        def close(run) -> None:
            for folder in (run.last_checkpoint.parent, run.folder):
                folder.chmod(0o555)
            for file in run.folder.glob("*.*"):
                file.chmod(0o444)

        at_step(9, close)
        return main(["train", *RUN, f"paths.outputs={anybodys / 'outputs'}"])

    assert ended(fork(unprivileged(work), tmp_path / "log")) == 1
    (said,) = (tmp_path / "log").read_text().splitlines()
    assert "it cannot be written any more (Permission denied); last.ckpt is whole" in said
    (run,) = rnnlab.runs(anybodys / "outputs" / "sine")
    assert checksum_error(run.last_checkpoint) == "" and run.status == "running"
    subprocess.run(["chmod", "-R", "u+rwX", str(anybodys)], check=True)
    rnnlab.train(*RUN, f"paths.outputs={anybodys / 'outputs'}")
    assert mismatches(whole, anybodys / "outputs" / "sine") == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full(whole, small_disk, tmp_path):
    def work() -> int:
        def fill(run) -> None:
            with (small_disk / "filler").open("wb", buffering=0) as f:
                for size in (4096, 1):
                    try:
                        while f.write(bytes(size)):
                            pass
                    except OSError:
                        continue

        at_step(9, fill)
        return main(["train", *RUN, f"paths.outputs={small_disk / 'outputs'}"])

    assert ended(fork(work, tmp_path / "log")) == 1
    (said,) = (tmp_path / "log").read_text().splitlines()
    assert "the disk is full (No space left on device); last.ckpt is whole" in said
    (run,) = rnnlab.runs(small_disk / "outputs" / "sine")
    assert checksum_error(run.last_checkpoint) == ""
    (small_disk / "filler").unlink()
    rnnlab.train(*RUN, f"paths.outputs={small_disk / 'outputs'}")
    assert mismatches(whole, small_disk / "outputs" / "sine") == []


LONG = [*(o for o in RUN if not o.startswith(("trainer.max_epochs", "checkpoint"))), "trainer.max_epochs=1000000",
        "checkpoint.every_n_steps=200"]  # fmt: skip


def begun(outputs: Path, words: list[str], log: Path) -> "tuple[subprocess.Popen[bytes], Path]":
    """A training in a process of its own, once it has written its first checkpoint; and its folder."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "rnnlab", "train", *words, f"paths.outputs={outputs}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)  # fmt: skip
    while not (found := list(outputs.glob("sine/*/checkpoints/last.ckpt"))):
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    return process, found[0].parents[1]


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_training_without_its_folder_ends_and_makes_nothing_again(tmp_path, how):
    """It would take days; that it ends is that it has noticed."""
    csv = "+logger.csv={_target_:lightning.pytorch.loggers.CSVLogger,save_dir:'{run_folder}'}"
    process, folder = begun(tmp_path / "outputs", [*LONG, csv], tmp_path / "log")
    if how == "deleted":
        while subprocess.run(["rm", "-rf", str(folder)], capture_output=True).returncode:
            pass  # its last write was in between
    else:
        folder.rename(tmp_path / "elsewhere")
    if how == "replaced":
        shutil.copytree(tmp_path / "elsewhere", folder)
        before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert process.wait(timeout=PATIENCE) == 1
    (said,) = (tmp_path / "log").read_text().splitlines()
    assert "the folder was deleted while its run was training" in said
    if how == "replaced":
        assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    else:
        assert not folder.parent.exists() or list(folder.parent.iterdir()) == []


def test_a_terminal_that_is_gone_leaves_a_checkpoint(tmp_path):
    """SIGHUP, twice as a shell and its terminal send it, when nothing can be written to the terminal any more."""
    import pty

    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "rnnlab", "train", *LONG, f"paths.outputs={tmp_path}"]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    while not (found := list(tmp_path.glob("sine/*/checkpoints/last.ckpt"))):
        assert process.poll() is None
        time.sleep(0.05)
    os.close(theirs), os.close(ours)
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=PATIENCE) == 128 + signal.SIGHUP
    run = rnnlab.Run(found[0].parents[1])
    assert run.status == "stopped" and run.record["why"].startswith("SIGHUP at step ")
    assert checksum_error(run.last_checkpoint) == ""


def test_with_nohup_a_training_goes_on(tmp_path):
    words = ["nohup", sys.executable, "-m", "rnnlab", "train", *LONG, f"paths.outputs={tmp_path}"]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (found := list(tmp_path.glob("sine/*/checkpoints/previous.ckpt"))):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    found[0].unlink()
    while not found[0].exists():  # written again: it goes on
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=PATIENCE) == 143


@pytest.mark.parametrize(
    ("streams", "sweep"),
    [
        ("| head -1", "-m seed=0,1"),
        ("<&- >&- 2>&-", ""),
        ("<&- >&- 2>&-", "-m seed=0,1"),
        ("> /dev/full 2> /dev/full", ""),
    ],
)
def test_output_that_nobody_takes_does_not_stop_a_training(tmp_path, streams, sweep):
    command = shlex.join([sys.executable, "-m", "rnnlab", "train", *RUN, f"paths.outputs={tmp_path}"])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} {sweep} {streams}"], capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert [r.status for r in rnnlab.runs(tmp_path / "sine")] == ["finished"] * (2 if sweep else 1)


def test_a_folder_that_is_replaced_while_the_disk_is_waited_for_is_not_written(small, tmp_path, monkeypatch):
    from rnnlab.errors import Gone
    from rnnlab.training import checkpoints

    sync_all, before, calls = checkpoints.sync_all, {}, []

    def replaced(files):
        sync_all(files)
        calls.append(files)
        if len(calls) == 2:
            (folder,) = (file.parent for file in (tmp_path / "sine").glob("*/run.json"))
            folder.rename(tmp_path / "elsewhere")
            shutil.copytree(tmp_path / "elsewhere", folder)
            before.update({file: file.read_bytes() for file in folder.rglob("*") if file.is_file()})

    monkeypatch.setattr(checkpoints, "sync_all", replaced)
    with pytest.raises(Gone):
        small("checkpoint.every_n_steps=2", "trainer.max_epochs=3")
    (folder,) = (file.parent for file in (tmp_path / "sine").glob("*/run.json"))
    assert before and {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
