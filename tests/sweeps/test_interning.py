"""What many records have alike is one object, and each record is what it was."""

import copy
import json

from rnnlab.sweeps.interning import Interner
from rnnlab.sweeps.interpolations import followers


def test_records_are_as_they_were_and_share_what_they_have_alike():
    record = {
        "status": "finished",
        "results": {"floor": {"val": {"mse": 0.5}}, "best": {"value": 0.25, "step": 1}},
    }
    first, second = json.loads(json.dumps(record)), json.loads(json.dumps(record))
    second["results"]["best"]["value"] = 0.75
    interner, asked = Interner(), copy.deepcopy([first, second])
    shared = [interner.record(one) for one in (first, second)]
    assert shared == asked
    assert shared[0]["results"]["floor"] is shared[1]["results"]["floor"]
    assert shared[0]["results"]["best"] is not shared[1]["results"]["best"]


def test_sections_are_told_apart_by_the_types_of_their_values():
    interner = Interner()
    one, same, other = ({"x": value} for value in (1, 1, 1.0))
    assert interner.section(one) is interner.section(same) is one
    assert interner.section(other) is other and interner.section(True) is True


def test_which_keys_a_value_follows():
    raw = {"seed": 0, "cell": "gru", "data.seed": "${seed}", "name": "x-${cell}", "note": "${shout:${seed}}",
           "of.gru": 1, "width": "${of.${cell}}", "still": "${oc.env:HOME}", "all": "${data}"}  # fmt: skip
    found = followers(raw, ["seed", "cell"])
    assert {path: (one.copied, set(one.keys)) for path, one in found.items()} == {
        "data.seed": ("seed", {"seed"}), "name": (None, {"cell"}), "note": (None, {"seed", "cell"}),
        "width": (None, {"seed", "cell"}), "all": (None, {"seed"}),
    }  # fmt: skip
