"""What fails costs only itself; what cannot be is refused before anything starts."""

import os
import subprocess

import pytest
from asking import content, words

import rnnlab


def test_a_failure_costs_only_its_run(tmp_path, multirun):
    how = [
        f"{{_target_:victim.Victim,how:{how},mark:{tmp_path / 'mark'}}}" for how in ("raise", "exit", "kill")
    ]
    asked = words(tmp_path, "seed=0,1", f"+callbacks.victim={','.join(how)}", "sweep.workers=2")
    done = multirun(*asked)
    runs = {
        (r.config["callbacks"]["victim"]["how"], r.config["seed"]): r for r in rnnlab.runs(tmp_path / "sine")
    }
    assert done.code == 1 and "3 of 6 runs failed" in done.err
    assert {(how, seed) for (how, seed), r in runs.items() if r.status == "finished"} == {
        ("raise", 0), ("exit", 0), ("kill", 0)}  # fmt: skip
    for how, why in (("raise", "ArithmeticError"), ("exit", "SystemExit: 3"), ("kill", "SIGKILL")):
        assert runs[how, 1].status == "failed" and why in runs[how, 1].record["why"]
        assert str(runs[how, 1].folder / "traceback.txt") in done.out
        assert why in (runs[how, 1].folder / "traceback.txt").read_text()
        (runs[how, 1].folder / "note").touch()
    # again: one that failed through no fault of its own goes on from its checkpoint, the others begin afresh
    again = multirun(*asked)
    assert again.code == 1 and "3 failed before, tried again" in again.out
    assert runs["kill", 1].status == "finished"
    assert [(runs[how, 1].folder / "note").exists() for how in ("raise", "exit", "kill")] == [
        False,
        False,
        True,
    ]
    assert content(runs["kill", 1]) == content(
        rnnlab.train(*words(tmp_path / "alone", "seed=1"), "callbacks=none")
    )
    stopped = multirun(*asked, "sweep.max_failures=1", "sweep.workers=1")
    assert stopped.code == 1 and "sweep.max_failures" in stopped.err


def test_a_loss_that_is_lost_is_a_failure_tried_again_from_its_start(tmp_path, multirun):
    asked = words(tmp_path, "optimizer=sgd", "optimizer.lr=0.01,1e6", "seed=0")
    assert multirun(*asked).code == 1
    lost = next(r for r in rnnlab.runs(tmp_path / "sine") if r.config["optimizer"]["lr"] == 1e6)
    assert "Diverged" in (lost.folder / "traceback.txt").read_text() and "can_go_on" not in lost.record
    (lost.folder / "note").touch()
    assert "2 runs, 1 finished already, 1 failed before, tried again" in multirun(*asked).out
    assert not (lost.folder / "note").exists()


def test_nothing_starts_where_a_point_cannot_be(tmp_path, multirun):
    refused = multirun(*words(tmp_path, "model.hidden_size=8,0", "optimizer.lr=0.1,-1", "sweep.workers=1"))
    assert refused.code == 2 and not list(tmp_path.iterdir())
    assert refused.err.startswith("3 of 4 points are invalid:\n")
    assert "optimizer.lr=-1: must be a number of at least 0" in refused.err
    absent = multirun(
        *words(tmp_path, "model.cell=gru,victim.Nobody", "+callbacks.x._target_=nowhere.X", "seed=0")
    )
    assert absent.code == 2 and not list(tmp_path.iterdir())
    assert "model.cell=victim.Nobody: victim has no Nobody" in absent.err
    assert "there is no Python module nowhere" in absent.err
    longer = multirun(*words(tmp_path, "resume=somewhere", "seed=0"))
    assert longer.code == 2 and "only a single run can be trained for longer" in longer.err


def test_what_cannot_be_or_has_no_device_is_left_out_where_asked(tmp_path, multirun):
    asked = ("model.hidden_size=0,4", "trainer.accelerator=cpu,mps", "sweep.on_invalid=skip", "seed=0")
    some = multirun(
        *words(tmp_path, *asked, base=("experiment=sine", "data.n_points=200", "trainer.max_epochs=1"))
    )
    assert some.code == 0 and "2 of 4 points are invalid and left out:" in some.out
    assert "2 runs, 1 skipped: no such device" in some.out and "\n1 run trained" in some.out
    skipped = next(r for r in rnnlab.runs(tmp_path / "sine") if r.status == "skipped")
    assert "trainer.accelerator=mps: there is none on this machine" in skipped.record["why"]


def test_a_sweep_none_of_whose_runs_has_its_device_is_refused_as_a_run_is(tmp_path, multirun):
    for more in ((), ("sweep.dry_run=true",)):
        done = multirun(*words(tmp_path, "trainer.accelerator=mps", "seed=0,1", *more))
        assert done.code == 2 and not list(tmp_path.iterdir())
        assert done.err.startswith("trainer.accelerator=mps: there is none on this machine, which has ")


def test_an_outputs_folder_that_cannot_be_is_refused_before_anything_is_trained(tmp_path, multirun):
    (tmp_path / "outputs").write_text("a file")
    done = multirun(*words(tmp_path, "seed=0,1"), f"paths.outputs={tmp_path / 'outputs'}")
    assert (done.code, done.out.count("failed")) == (2, 0)
    assert done.err.startswith(f"paths.outputs: cannot write to {tmp_path / 'outputs' / 'sine'}")


def test_instruments_that_finished_runs_did_not_have_are_named(tmp_path, multirun):
    asked = words(tmp_path, "seed=0,1")
    assert "finished without" not in multirun(*asked).out
    missed = "finished without callbacks.memory, logger.csv; rerun=true"
    more = ["+callbacks.memory={_target_:rnnlab.instruments.through_time.Memory}",
            "+logger.csv={_target_:lightning.pytorch.loggers.CSVLogger,save_dir:'{run_folder}'}"]  # fmt: skip
    assert missed in multirun(*asked, *more).out
    assert missed not in multirun(*asked, *more, "rerun=true").out
    assert missed not in multirun(*asked, *more).out


def test_a_damaged_run_is_named_and_goes_on_and_costs_no_other(tmp_path, multirun):
    asked = words(tmp_path, "seed=0,1,2")
    assert multirun(*asked).code == 0
    whole = {r.id: content(r) for r in rnnlab.runs(tmp_path / "sine")}
    first, second, _ = rnnlab.runs(tmp_path / "sine")
    (first.folder / "run.json").write_bytes(b"")
    second.manifest_file.write_bytes(b"[]")
    dry = multirun(*asked, "--dry-run")
    assert dry.code == 0 and dry.out.count(str(first.folder)) == 1
    done = multirun(*asked)
    assert done.code == 0 and done.err == ""
    assert "3 runs, 2 finished already, 1 resumed" in done.out
    assert done.out.count(str(first.folder)) == 1 and "1 run that finished is stale" in done.out
    assert {r.id: content(r) for r in rnnlab.runs(tmp_path / "sine")} == whole
    assert first.status == "finished"


def test_a_folder_that_is_deleted_costs_only_its_run(tmp_path, multirun):
    asked = words(tmp_path, "seed=0,1", "+callbacks.victim={_target_:victim.Victim,how:delete}")
    done = multirun(
        *asked, "+logger.csv={_target_:lightning.pytorch.loggers.CSVLogger,save_dir:'{run_folder}'}"
    )
    assert done.code == 1 and "1 of 2 runs failed" in done.err and "Traceback" not in done.out + done.err
    assert "the folder was deleted while its run was training" in done.out
    (left,) = rnnlab.runs(tmp_path / "sine")
    assert left.status == "finished" and left.config["seed"] == 0
    assert [p.name for p in (tmp_path / "sine").iterdir()] == [left.folder.name]


def test_on_a_full_disk_only_the_runs_fail(tmp_path, multirun):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        asked = words(disk, "seed=0,1,2,3", "sweep.workers=2")
        done = multirun(*asked)
        assert done.code == 1 and "Traceback" not in done.err and "No worker" not in done.err
        assert "of 4 runs failed" in done.err and "trained in" in done.out
        assert done.out.count("No space left on device") >= 1
        done = multirun(*words(tmp_path / "room", "seed=0,1,2,3", "sweep.workers=2"))
        assert done.code == 0
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
