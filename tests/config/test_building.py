"""Objects from config nodes; what a constructor refuses is said on one line with its place."""

import dataclasses
import sys
import types

import pytest
import torch

from rnnlab.config import build
from rnnlab.config.building import parameters, takes
from rnnlab.errors import UserError

PARAMETERS = [torch.nn.Parameter(torch.zeros(2))]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's module `mine_for_tests`."""
    (tmp_path / "mine_for_tests.py").write_text(
        "from rnnlab.errors import UserError\n"
        "class Data:\n"
        "    def __init__(self, spec, sizes, height=1):\n"
        "        if height > 9: raise UserError('height: at most 9')\n"
        "        if height < 0: raise KeyError('depth')\n"
        "        self.spec, self.sizes = spec, sizes\n"
    )
    (tmp_path / "broken_for_tests.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "mine_for_tests.Data"
    sys.modules.pop("mine_for_tests", None)


def refusal(node, at="data", **kwargs):
    with pytest.raises(UserError) as caught:
        build(node, at, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_partial_takes_the_rest_later():
    node = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.5, "betas": [0.5, 0.9]}
    optimizer = build(node, "optimizer")(PARAMETERS)
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.defaults["lr"], tuple(optimizer.defaults["betas"])) == (0.5, (0.5, 0.9))


def test_what_a_partial_refuses_names_place_value_and_cause():
    make = build({"_target_": "torch.optim.Adam", "_partial_": True, "lr": -1, "eps": 2}, "optimizer")
    with pytest.raises(UserError) as caught:
        make(PARAMETERS)
    assert str(caught.value) == "optimizer: torch.optim.Adam(lr=-1): Invalid learning rate: -1"


@pytest.mark.parametrize("word", ["x", ["x"]])
def test_a_word_where_a_function_belongs_is_said_whether_annotations_are_texts_or_not(word):
    node = {"_target_": "torch.optim.lr_scheduler.LambdaLR", "_partial_": True, "lr_lambda": word}
    with pytest.raises(UserError, match=r"^scheduler\.lr_lambda=x: LambdaLR needs a function: "):
        build(node, "scheduler")


def test_a_null_that_is_left_over_from_another_class_is_left_out():
    node = {
        "_target_": "torch.optim.Adam",
        "_partial_": True,
        "lr": 0.5,
        "momentum": None,
        "weight_decay": 0.0,
    }
    assert build(node, "optimizer")(PARAMETERS).defaults["lr"] == 0.5
    with pytest.raises(UserError, match=r"optimizer\.momentum: Adam has no such argument"):
        build(node | {"momentum": 0.9}, "optimizer")(PARAMETERS)


def test_arguments_pass_as_they_are(mine):
    spec = {"names": ["a", "b"], "_target_": "not.to.be.built"}
    made = build({"_target_": mine, "sizes": [1, {"b": (2, 3)}]}, "data", spec=spec)
    assert made.spec is spec
    assert type(made.sizes) is list and made.sizes == [1, {"b": [2, 3]}]


def test_nested_nodes_are_built_first(mine):
    node = {"_target_": mine, "sizes": {"_target_": "fractions.Fraction", "numerator": 1, "denominator": 3}}
    assert build(node, "data", spec={}).sizes.denominator == 3


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "torch.optim.Adan",
            "optimizer._target_=torch.optim.Adan: torch.optim has no Adan. Did you mean Adam?",
        ),
        ("torch.optm.Adam", "optimizer._target_=torch.optm.Adam: torch has no optm. Did you mean optim?"),
        (
            "torhc.optim.Adam",
            "optimizer._target_=torhc.optim.Adam: there is no Python module torhc; "
            "is its folder on PYTHONPATH?",
        ),
        (
            "torch.optim",
            "optimizer._target_=torch.optim: is neither a class nor a function (its type: module)",
        ),
        (
            "torch.optim.Adam.stepp",
            "optimizer._target_=torch.optim.Adam.stepp: torch.optim.Adam has no stepp. Did you mean step?",
        ),
        ("Adam", "optimizer._target_=Adam: must be a dotted path, such as package.module.Class"),
    ],
)
def test_a_target_that_is_not_there(target, message):
    assert refusal({"_target_": target}, "optimizer") == message


def test_a_module_that_does_not_import(mine):
    assert refusal({"_target_": "broken_for_tests.Data"}) == (
        "data._target_=broken_for_tests.Data: importing broken_for_tests: "
        "ModuleNotFoundError: No module named 'no_such_package_at_all'"
    )


def test_what_constructors_refuse(mine):
    node = {"_target_": mine, "sizes": 1}
    assert refusal({**node, "height": 10}, spec={}) == "data: height: at most 9"
    assert refusal({**node, "hight": 10}, spec={}).startswith(
        "data.hight: Data has no such argument. Did you mean height?"
    )
    # an error that is no complaint about a value says where it was raised
    assert refusal({**node, "height": -1}, spec={}) == (
        f"data: {mine}(...): KeyError: 'depth' (mine_for_tests.py, line 5)"
    )


def test_faults_of_nested_nodes_name_their_own_place(mine):
    inner = {"_target_": "fractions.Fraction", "numerator": "x"}
    assert refusal({"_target_": mine, "sizes": inner}, spec={}).startswith(
        "data.sizes: fractions.Fraction(numerator=x): Invalid literal"
    )
    inner = {"_target_": "fractions.Fractoin"}
    assert refusal({"_target_": mine, "sizes": inner}, spec={}) == (
        "data.sizes._target_=fractions.Fractoin: fractions has no Fractoin. Did you mean Fraction?"
    )


def test_a_node_without_a_target():
    assert refusal({"lr": 3}, "optimizer") == "optimizer: has no _target_, the class to build"


def test_keys_left_over_from_another_class_and_those_that_it_needs_are_a_line_each():
    node = {
        "_target_": "torch.optim.lr_scheduler.OneCycleLR",
        "_partial_": True,
        "warmup_steps": 0,
        "total_step": 9,
    }
    make = build(node, "scheduler")
    with pytest.raises(UserError) as caught:
        make(torch.optim.SGD(PARAMETERS))
    assert caught.value.args == (
        "scheduler.warmup_steps: OneCycleLR has no such argument. ~scheduler.warmup_steps leaves it out",
        "scheduler.total_step: OneCycleLR has no such argument. Did you mean total_steps? ~scheduler.total_step leaves "
        "it out",
        "scheduler.max_lr: OneCycleLR needs it: +scheduler.max_lr=VALUE",
    )


def test_an_argument_that_is_given_is_not_missed(mine):
    with pytest.raises(UserError) as caught:
        build({"_target_": mine, "tall": 1}, "data", spec={})
    assert caught.value.args == (
        "data.tall: Data has no such argument. ~data.tall leaves it out",
        "data.sizes: Data needs it: +data.sizes=VALUE",
    )


def test_a_target_that_cannot_be_hashed_is_built(monkeypatch):
    @dataclasses.dataclass
    class Make:
        n: int = 1

        def __call__(self, spec, hidden=4):
            return self.n, spec, hidden

    monkeypatch.setitem(sys.modules, "made_for_tests", types.ModuleType("made_for_tests"))
    sys.modules["made_for_tests"].make = Make()
    node = {"_target_": "made_for_tests.make", "hidden": None, "gone": None}
    assert build(node, "model", spec="s") == (1, "s", None)


def test_a_constructor_that_was_replaced_in_place_is_seen():
    class Net:
        def __init__(self, old):
            pass

    assert [*parameters(Net)] == ["old"] and parameters(Net) is parameters(Net) and not takes(Net, "new")

    def init(self, new):
        pass

    Net.__init__ = init
    assert [*parameters(Net)] == ["new"] and takes(Net, "new") and not takes(Net, "old")
