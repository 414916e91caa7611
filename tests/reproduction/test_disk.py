"""A disk that is full and a folder that goes away: one line, and the last good checkpoint as it was."""

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from test_kills import RUN

import rnnlab
from remains import mismatches
from rnnlab.cli import main
from rnnlab.ledger.seal import broken
from tortures.death import ended, fork


def test_a_full_disk_and_then_room_again(tmp_path):
    rnnlab.train(*RUN, f"paths.outputs={tmp_path / 'whole'}")
    folder, log = tmp_path / "full", tmp_path / "log"

    def small_files() -> int:
        at_step(9, lambda run: resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500)))
        return main(["train", *RUN, f"paths.outputs={folder}"])

    assert ended(fork(small_files, log)) == 1
    said = [line for line in log.read_text().splitlines() if "disk is full" in line]
    assert len(said) == 1 and "Traceback" not in log.read_text()
    (run,) = rnnlab.runs(folder / "sine")
    assert broken(run.last_checkpoint) == "" and run.status in ("failed", "running")
    rnnlab.train(*RUN, f"paths.outputs={folder}")
    assert mismatches(tmp_path / "whole" / "sine", folder / "sine") == []


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
    assert run.status == "stopped" and broken(run.last_checkpoint) == ""


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

    import rnnlab.training.train as training

    class Do(Callback):
        patient = True

        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == step:
                do(rnnlab.Run(Path(trainer.default_root_dir)))

    make = training.make_trainer
    training.make_trainer = lambda *a, **k: make(*a, **(k | {"callbacks": [Do(), *k["callbacks"]]}))


def test_a_read_only_folder_is_said_before_any_work(anybodys, tmp_path):
    outputs = anybodys / "outputs"
    outputs.mkdir(mode=0o555)
    outputs.chmod(0o555)
    code = ended(
        fork(unprivileged(lambda: main(["train", *RUN, f"paths.outputs={outputs}"])), tmp_path / "log")
    )
    (said,) = (tmp_path / "log").read_text().splitlines()
    assert code == 2 and said.startswith("paths.outputs: cannot ") and str(outputs) in said
    assert "Permission denied" in said and list(outputs.iterdir()) == []


def test_a_folder_that_becomes_read_only_and_writable_again(anybodys, tmp_path):
    rnnlab.train(*RUN, f"paths.outputs={tmp_path / 'whole'}")

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
    assert broken(run.last_checkpoint) == "" and run.status == "running"
    subprocess.run(["chmod", "-R", "u+rwX", str(anybodys)], check=True)
    rnnlab.train(*RUN, f"paths.outputs={anybodys / 'outputs'}")
    assert mismatches(tmp_path / "whole" / "sine", anybodys / "outputs" / "sine") == []


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


def test_a_disk_that_is_really_full(small_disk, tmp_path):
    rnnlab.train(*RUN, f"paths.outputs={tmp_path / 'whole'}")

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
    assert broken(run.last_checkpoint) == ""
    (small_disk / "filler").unlink()
    rnnlab.train(*RUN, f"paths.outputs={small_disk / 'outputs'}")
    assert mismatches(tmp_path / "whole" / "sine", small_disk / "outputs" / "sine") == []
