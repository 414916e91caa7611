import pytest

from rnnlab.config import check
from rnnlab.config.composing import compose
from rnnlab.config.texts import kept, text_keys

TYPED = ("1e234", "007", "1_000", "1.10", "+3", ".5", "5.", "inf", "NaN", "true", "FALSE", "1e-3")


@pytest.mark.parametrize("typed", TYPED)
def test_what_looks_like_a_number_is_the_text_that_was_typed(typed):
    assert check(compose([f"name={typed}", f"notes={typed}", f"tags=[a,{typed}]"]))["name"] == typed
    config = check(compose([f"notes={typed}", f"tags=[a, {typed}]"]))
    assert (config["notes"], config["tags"]) == (typed, ["a", typed])


def test_numbers_stay_numbers_and_null_stays_null():
    assert kept(["seed=1", "optimizer.lr=1e-3", "resume=null", "model.bidirectional=true"]) == [
        "seed=1", "optimizer.lr=1e-3", "resume=null", "model.bidirectional=true"
    ]  # fmt: skip


def test_of_a_sweep_each_value_is_kept():
    assert kept(["name=1e2,x, 3 ,null"]) == ["name='1e2',x, '3' ,null"]


@pytest.mark.parametrize("as_it_is", ["name='1e5'", "name=range(3)", "name=choice(1,2)", "name=${seed}", "name=", "x",
                                      "+extra=1", "sweep.zip=[[a,1]]", "name=[1", "tags={a:1}", "--info"])  # fmt: skip
def test_what_says_its_type_itself_is_left_alone(as_it_is):
    assert kept([as_it_is]) == [as_it_is]


def test_the_keys_of_text_are_those_of_the_schemas():
    assert {"name", "notes", "tags", "monitor", "data.path", "data.target", "paths.outputs"} <= text_keys()
    assert not {"seed", "model.hidden_size", "optimizer.lr", "trainer.threads", "mode"} & text_keys()
