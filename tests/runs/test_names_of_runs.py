"""Folders and labels say what differs, whichever groups were chosen, and old folders are found by their id."""

import pytest

from rnnlab.config import base_config, check, compose, deciding
from rnnlab.report.entry import Entry
from rnnlab.report.leaderboard import leaderboard
from rnnlab.runs.config_diff import config_diffs
from rnnlab.runs.identity import leaves, readable
from rnnlab.runs.run import Run, runs, since_1970
from rnnlab.runs.run_path import place, with_existing_folder


def named(*overrides):
    config = check(compose(overrides))
    config["trainer"]["accelerator"] = "cpu"
    bases = (leaves(deciding(base_config(overrides, choices=c))) for c in (False, True))
    return place(config, deciding(config), *bases)


@pytest.mark.parametrize(("overrides", "label"), [
    (["optimizer=sgd", "optimizer.lr=0.25"], "optimizer-SGD+lr-0.25"),
    (["optimizer=sgd"], "optimizer-SGD"),
    (["data=chars", "model=char_lm", "model.cell=gru", "model.hidden_size=8", "trainer.max_epochs=1"],
     "model-CharLM+data-Chars+cell-gru+hidden_size-8+max_epochs-1"),
    (["experiment=sine", "model.hidden_size=8"], "hidden_size-8"),
    (["optimizer._target_=torch.optim.NAdam", "optimizer.lr=0.2"], "optimizer-NAdam+lr-0.2"),
])  # fmt: skip
def test_a_replaced_group_keeps_what_was_asked_of_it(overrides, label):
    assert named(*overrides).label == label


def test_files_keep_their_stem_and_classes_their_name(tmp_path):
    assert readable("py.txt") == "py.txt" and readable("texts/uni.txt") == "uni.txt"
    assert readable("mine.cells.Leaky") == "Leaky" and readable("PY.TXT") == "PY.TXT"
    for name in ("py.txt", "uni.txt"):
        (tmp_path / name).write_text("abc" * 100)
    asked = ["data=chars", "model=char_lm"]
    labels = [named(*asked, f"data.path={tmp_path / n}").label for n in ("py.txt", "uni.txt")]
    assert [label.rpartition("path-")[2] for label in labels] == ["py.txt", "uni.txt"]


def test_a_folder_of_an_earlier_name_is_found_by_its_id(tmp_path):
    where = named("optimizer=sgd", "optimizer.lr=0.25", f"paths.outputs={tmp_path}")
    assert with_existing_folder(where) == where
    old = Run(where.folder.with_name(f"optimizer-SGD+seed-0-{where.id}"))
    old.create(where.id, "scratch", {}, [])
    assert with_existing_folder(where) == where._replace(folder=old.folder)
    Run(where.folder).create(where.id, "scratch", {}, [])
    assert with_existing_folder(where) == where


def test_runs_of_one_class_differ_by_its_own_keys():
    sgd = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.0}}
    fast = {"optimizer": sgd["optimizer"] | {"momentum": 0.9}}
    adam = {"optimizer": {"_target_": "torch.optim.Adam", "lr": 0.1, "betas": [0.9, 0.99]}}
    assert config_diffs([adam, sgd, fast]) == [
        {"optimizer": "Adam"}, {"optimizer": "SGD", "optimizer.momentum": 0.0},
        {"optimizer": "SGD", "optimizer.momentum": 0.9}]  # fmt: skip


def test_no_two_rows_have_one_label(tmp_path):
    """Files of one name in two folders, and values that are cut at the same place."""
    paths = ["a/x.txt", "b/x.txt", "c" * 50, "c" * 51]
    entries = []
    for i, path in enumerate(paths):
        best = {"value": 1.0, "step": 1, "metrics": {"loss/val": 1.0, "metric/nats": 1.0}}
        record = {"status": "finished", "group": str(i), "path": path, "results": {"best": best}}
        entries.append(Entry(tmp_path / f"x+seed-0-{i}", record))
    board = leaderboard(
        entries, "min", lambda e: {"mode": "min", "model": {}, "data": {"path": e.record["path"]}}
    )
    labels = [row.label for row in board.rows]
    assert len(set(labels)) == 4 and "path=x.txt (data.path=a/x.txt)" in labels


def test_runs_of_machines_in_other_time_zones_stand_in_the_order_of_their_times(tmp_path):
    """By the text of its stamp the later one came first; HParams took each for a time of the reader's own zone."""
    for name, created in (
        ("a", "2026-07-02T09:00:00+0000"),
        ("b", "2026-07-02T10:30:00+0200"),
        ("c", "no time"),
    ):
        run = Run(tmp_path / name)
        run.create(name, "exp", {"model": {}, "mode": "min"}, [])
        run.update(created=created)
    assert [run.folder.name for run in runs(tmp_path)] == ["c", "b", "a"]
    assert since_1970("2026-07-02T10:30:00+0200") == since_1970("2026-07-02T08:30:00+0000") == 1782981000.0
    assert since_1970(None) == since_1970("0000-00-00T00:00:00+0000") == 0.0


def test_a_key_of_a_users_own_makes_no_folder_within_the_runs(tmp_path):
    config = {"trainer": {"accelerator": "cpu"}, "paths": {"outputs": str(tmp_path)}, "name": "x"}
    decisive = {"model": {"_target_": "mine.Net", "weights": {"metric/r2": 0.5, "../up": 1}}, "seed": 0}
    found = place(config, decisive, {"model._target_": "mine.Net", "seed": 0})
    assert found.label == "metric_r2-0.5+_up-1" and found.folder.parent == tmp_path / "x"
