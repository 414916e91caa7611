"""Objects as parts of a config: what is recorded makes the same object; what cannot be is trained itself, and said."""

import functools
import importlib
import random
import re
import subprocess
import sys

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn, tanh

from rnnlab import Cell
from rnnlab.api.description import difference, node_of
from rnnlab.api.objects import overrides_of, text
from rnnlab.config import build, compose
from rnnlab.data import Sine
from rnnlab.errors import UserError
from rnnlab.runs.kept_source import Unrecordable, global_names, install, target_of
from rnnlab.runs.objects import GIVEN

HERE = __name__


class Net(lightning.LightningModule):
    def __init__(self, width=16, lr=0.01, sizes=(1, 2)):
        super().__init__()
        self.width, self.lr, self.sizes = width, lr, sizes
        self.net = nn.Linear(1, width)


class Hyper(lightning.LightningModule):
    def __init__(self, width, lr=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(1, width)


class Forgetful(lightning.LightningModule):
    def __init__(self, width=16):
        super().__init__()
        self.net = nn.Linear(1, width)


class Scaled(lightning.LightningModule):
    """Keeps another value than it was given."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.lr = 10 * lr


@pytest.mark.parametrize(
    ("thing", "arguments"),
    [
        (Net(12), {"width": 12, "lr": 0.01, "sizes": [1, 2]}),
        (Net(sizes=[3]), {"width": 16, "lr": 0.01, "sizes": [3]}),
        (Net(np.int64(5)), {"width": 5, "lr": 0.01, "sizes": [1, 2]}),
        (Hyper(4, lr=0.5), {"width": 4, "lr": 0.5}),
        (functools.partial(Forgetful, 7), {"width": 7}),
        (Forgetful, {"width": 16}),
        (Forgetful(), {}),
    ],
    ids=str,
)
def test_a_module_is_its_class_and_its_arguments(thing, arguments):
    node = node_of(thing, "module")
    made = thing if isinstance(thing, functools.partial | type) else type(thing)
    kind = getattr(made, "func", made)
    assert node == {"_target_": f"{HERE}.{kind.__name__}"} | arguments
    if isinstance(thing, nn.Module):
        again = build(node, "model")
        assert {n: p.shape for n, p in again.named_parameters()} == {
            n: p.shape for n, p in thing.named_parameters()
        }


def changed(module):
    nn.init.zeros_(module.net.weight)
    return module


def frozen(module):
    module.net.weight.requires_grad = False
    return module


def loaded(module):
    module.load_state_dict(Net().state_dict())
    return module


def other_attribute(module):
    module.bonus = 3
    return module


@pytest.mark.parametrize(
    ("thing", "why"),
    [
        (Forgetful(7), "width is not kept on it: self.width = width or self.save_hyperparameters"),
        (Scaled(0.2), r"makes: lr differs"),
        (changed(Net()), "net.weight differs"),
        (frozen(Net()), "net.weight differs"),
        (loaded(Net()), "net.weight differs"),
        (other_attribute(Net()), "bonus differs"),
        (Net(lr=torch.tensor(0.1)), "its argument lr is a Tensor"),
        (Net(lr="${seed}"), "a config would replace"),
        (Net(lr=float("nan")), "its argument lr is nan"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_differs_from_what_can_be_written_down_is_not_recorded(thing, why):
    node = node_of(thing, "module")
    assert node["_target_"] == GIVEN and node["what"] == type(thing).__name__
    assert re.search(why, node["why"]), node["why"]
    assert build(node, "model") is thing  # here it is trained itself
    with pytest.raises(UserError, match="cannot be made again"):
        build(node | {"key": "another"}, "model")
    with pytest.raises(UserError, match="a sweep trains in other processes"):
        overrides_of(module=thing, away=True)


def test_looking_at_an_object_draws_no_random_numbers():
    net, drawn = Net(3), []
    for look in (False, True):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        if look:
            node_of(net, "module")
        drawn.append((torch.rand(1), np.random.rand(), random.random()))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "thing",
    [
        EarlyStopping("loss/val", min_delta=0.1, mode="min"),
        EarlyStopping("accuracy", min_delta=0.1, mode="max", patience=7),
        ModelCheckpoint(monitor="loss/val", save_top_k=2, filename="{step}"),
        ModelCheckpoint(every_n_train_steps=5),
        LearningRateMonitor("epoch"),
        CSVLogger("logs", name="a"),
        TensorBoardLogger("logs", sub_dir="b"),
        Sine(n_points=50, noise_std=0.2),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_stock_objects_are_recorded(thing):
    node = node_of(thing, "callbacks")
    assert node["_target_"] != GIVEN, node
    assert difference(thing, build(node, "callbacks")) == ""


def test_a_sections_node_replaces_the_section_and_its_keys_can_be_set():
    override, *keys = overrides_of(module=Net(12, sizes=()))
    assert keys == ["model.width=12", "model.sizes=[]"]
    cfg = compose(["experiment=sine", override, *keys, "model.width=3"])
    assert dict(cfg.model) == {"_target_": f"{HERE}.Net", "width": 3, "lr": 0.01, "sizes": []}
    with pytest.raises(UserError, match=r"model\.widht: no such key\. Did you mean width\?"):
        compose([override, "model.widht=3"])


@pytest.mark.parametrize(
    "value",
    [
        "it's",
        "a\\",
        "\\'",
        "",
        " b ",
        "true",
        "1e3",
        "null",
        "a,b",
        "{x:1}",
        None,
        True,
        0.1,
        -3,
        [1, ["a"]],
        {"k": "v"},
    ],
    ids=repr,
)
def test_values_pass_through_hydras_grammar(value):
    assert compose([f"++callbacks.x={{_target_:a.B,v:{text(value)}}}"]).callbacks.x.v == value


# ---------------------------------------------------------------------- source


SCRIPT = """
import math as m
import torch
from torch import sigmoid, tanh
from rnnlab import Cell
from rnnlab.runs.kept_source import module_text

TWO = 2.0
x = torch.ones(1)  # no more than a name of a local variable below


def gain(x):
    return TWO * x * m.exp(0.0)


class Base(Cell):
    gates, states = 2, 1


class Mine(Base):
    def step(self, u, state):
        (h,) = state
        c, g = (u + self.recur(h)).chunk(2, dim=-1)
        h = sigmoid(g) * h + gain(tanh(c)) / TWO
        return h, (h,)


if __name__ == "__main__":
    open("alone.py", "w").write(module_text(Mine))
"""
USED = """
import sys, torch
module = __import__(sys.argv[1])
torch.manual_seed(0)
cell = module.Mine(1, 5)
print(cell.step(torch.randn(3, 10), (torch.randn(3, 5),))[0].sum().item())
"""


def test_the_source_of_a_scripts_class_stands_alone(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)

    def run(*words):
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    run("script.py")
    kept = (tmp_path / "alone.py").read_text()
    assert "import math as m\n" in kept and kept.index("class Base") < kept.index("class Mine")
    assert "torch.ones" not in kept and "module_text" not in kept
    want = run("-c", USED, "script")
    (tmp_path / "script.py").unlink()
    assert run("-c", USED, "alone") == want


def test_only_names_from_outside_count():
    source = "class A(Base):\n    k = K\n    def f(self, x, y=D):\n        z = x + G\n        return [z for z in H]\n"
    assert global_names(source) - {"A"} == {"Base", "K", "D", "G", "H"}


def test_a_local_class_is_kept_and_its_closure_is_not():
    class Local(Cell):
        gates, states = 1, 1

        def step(self, u, state):
            h = tanh(u + self.recur(state[0]))
            return h, (h,)

    assert target_of(Local).startswith("source_") and target_of(Local).endswith(".Local")
    module = importlib.import_module(target_of(Local).rpartition(".")[0])
    assert module.Local is not Local and issubclass(module.Local, Cell)
    factor = torch.ones(1)

    class Closing(Local):
        def step(self, u, state):
            return factor * u, state

    with pytest.raises(Unrecordable, match=r"Closing uses \w+, which is not defined beside it"):
        target_of(Closing)


def test_a_source_under_another_name_is_refused():
    with pytest.raises(UserError, match="not the one that was trained with"):
        install({"source_0123456789ab": "import os\n"})
    with pytest.raises(UserError, match="not the one"):
        install({"os": "import sys\n"})
