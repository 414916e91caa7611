"""A disk that is full and a folder that goes away: one line, and the last good checkpoint as it was."""

import resource
import shutil
import signal

import pytest
from test_kills import RUN

import rnnlab
from rnnlab.cli import main
from rnnlab.ledger.seal import broken
from torture import ended, fork, mismatches


def test_a_full_disk_and_then_room_again(tmp_path):
    rnnlab.train(*RUN, f"paths.outputs={tmp_path / 'whole'}")
    folder, log = tmp_path / "full", tmp_path / "log"

    def small_files() -> int:
        from lightning.pytorch import Callback

        class Full(Callback):
            patient = True

            def on_train_batch_start(self, trainer, *_):
                if trainer.global_step == 9:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))

        import rnnlab.training.train as training

        make = training.make_trainer
        training.make_trainer = lambda *a, **k: make(*a, **(k | {"callbacks": [Full(), *k["callbacks"]]}))
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
    from pathlib import Path

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
