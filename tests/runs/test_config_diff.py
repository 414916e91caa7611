"""What differs between a run and what is asked for now, or between two runs, and nothing else."""

from types import SimpleNamespace

import pytest

from rnnlab.errors import UserError
from rnnlab.reproduce.differences import manifests
from rnnlab.runs.config_diff import config_diffs, missing_callbacks
from rnnlab.runs.identity import differences, leaves, named
from rnnlab.runs.manifest import recorded_threads
from rnnlab.runs.run_path import place, seedless

NODE = {"_target_": "mine.Callback"}


def test_callbacks_that_a_run_did_not_have_and_no_others():
    run = SimpleNamespace(config={"callbacks": {"a": NODE, "off": None}, "logger": None})
    asked = {"callbacks": {"a": NODE, "b": NODE, "off": NODE, "none": None}, "logger": {"csv": NODE}}
    assert missing_callbacks(run, asked) == ["callbacks.b", "callbacks.off", "logger.csv"]


@pytest.mark.parametrize("other", [{"_target_": "A", "x": 1}, {"_target_": "A", "x": 1, "more": {"y": 2}}])
def test_what_only_one_config_has_is_said_of_it_in_any_order(other):
    alone = {"model": {"_target_": "A", "x": 1, "only": 2}}
    ours, theirs = config_diffs([alone, {"model": other}])
    assert [theirs, ours] == config_diffs([{"model": other}, alone])
    assert ours == {"model.only": 2} and theirs == ({"model.more.y": 2} if "more" in other else {})


def test_a_part_that_only_one_config_has_is_named_by_its_class_in_any_order():
    bare, averaged = {"callbacks": {}}, {"callbacks": {"ema": {"_target_": "mine.EMA", "decay": 0.9}}}
    for configs in ([bare, averaged], [averaged, bare]):
        assert sorted(config_diffs(configs), key=len) == [{}, {"callbacks.ema": "EMA"}]


def test_one_batch_is_not_all_of_them():
    one, every = ({"trainer": {"limit_val_batches": limit}} for limit in (1, 1.0))
    assert list(map(str, config_diffs([one, every]))) == [
        "{'trainer.limit_val_batches': 1}",
        "{'trainer.limit_val_batches': 1.0}",
    ]
    assert config_diffs([every, every]) == [{}, {}]


def test_of_a_run_whose_config_cannot_be_read_nothing_is_known():
    class Damaged:
        @property
        def config(self):
            raise UserError("damaged")

    assert missing_callbacks(Damaged(), {"callbacks": {"b": NODE}, "logger": {}}) == []


def test_torchs_version_is_a_version_and_not_also_a_source():
    ours, theirs = (
        {"sources": {"torch": v, "rnnlab": "a" * 64}, "versions": {"torch": v}} for v in ("1", "2")
    )
    assert manifests(ours, theirs) == {"versions": ["torch: 1 -> 2"]}


def test_lists_that_differ_in_their_order_are_shown_whole():
    ours, theirs = ({"machine": {"cpu_flags": flags}} for flags in (["avx", "fma"], ["fma", "avx"]))
    (line,) = manifests(ours, theirs)["machine"]
    assert line.endswith(": avx, fma -> fma, avx")


@pytest.mark.parametrize(("recorded", "threads"), [
    ({}, None), ({"threads": {"torch": 1}}, 1), ({"threads": {"torch": 1024}}, 1024),
    ({"threads": {"torch": 1025}}, None),
    ({"threads": {"torch": 0}}, None), ({"threads": {"torch": 2.0}}, None),
])  # fmt: skip
def test_a_number_of_threads_that_no_machine_has_is_not_taken(recorded, threads):
    assert recorded_threads(recorded) == threads


def test_seeds_of_the_data_that_follow_the_runs_are_no_part_of_its_group():
    def decisive(seed, data):
        return {"seed": seed, "data": {"n": 1, "seed": data}, "trainer": {"accelerator": "cpu"}}

    config = {"trainer": {"accelerator": "cpu"}, "paths": {"outputs": "o"}, "name": "x"}
    first, second, fixed = (
        place(config, d, leaves(decisive(0, 0))) for d in (decisive(1, 1), decisive(2, 2), decisive(2, 7))
    )
    assert first.group == second.group != fixed.group and first.id != second.id
    assert seedless(decisive(2, 7), 2)["data"] == {"n": 1, "seed": 7}


def test_a_seed_of_its_own_is_said_and_one_that_follows_is_not():
    def config(seed, data_seed):
        return {"seed": seed, "data": {"_target_": "a.B", "seed": data_seed}}

    assert config_diffs([config(0, 0), config(1, 1)]) == [{}, {}]
    assert config_diffs([config(0, 3), config(0, 4)]) == [{"data.seed": 3}, {"data.seed": 4}]
    theirs = leaves(config(0, 0))
    assert differences(leaves(config(1, 1)), theirs, theirs, 1) == ([], [])
    assert differences(leaves(config(1, 3)), theirs, theirs, 1) == ([], ["data_seed-3"])
    assert (named("", 1), named("data_seed-3", 1)) == ("seed-1", "data_seed-3+seed-1")
