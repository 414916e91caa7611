"""Objects as parts of a config: what is recorded makes the same object; what cannot be is trained itself, and said."""

import dataclasses
import datetime
import enum
import functools
import importlib
import math
import random
import re
import subprocess
import sys
from collections import deque
from pathlib import Path

import lightning
import numpy as np
import pandas
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn, tanh
from torch.utils.data import DataLoader, TensorDataset

import rnnlab
from rnnlab import Cell
from rnnlab.api.description import node_of, recorded
from rnnlab.api.difference import difference
from rnnlab.api.objects import overrides_of, text
from rnnlab.cells.registry import resolve
from rnnlab.config import build, compose
from rnnlab.config.permitted import refusals
from rnnlab.data import Chars, Sine, Tokens
from rnnlab.errors import UserError
from rnnlab.runs.kept_source import Unrecordable, global_names, install, kept, target_of
from rnnlab.runs.objects import GIVEN
from rnnlab.tasks import Forecaster
from rnnlab.terminal.progress import Progress as OurProgress

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


class Keyworded(lightning.LightningModule):
    def __init__(self, width, **more):
        super().__init__()
        self.save_hyperparameters()
        self.net, self.more = nn.Linear(1, width), more


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
        (Keyworded(4), {"width": 4}),
        (Keyworded(4, lr=0.5, sizes=[3]), {"width": 4, "lr": 0.5, "sizes": [3]}),
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


def partly_in_evaluation(module):
    module.net.eval()
    return module


def other_attribute(module):
    module.bonus = 3
    return module


@pytest.mark.parametrize(
    ("thing", "why"),
    [
        (Forgetful(7), "width is not kept on it: write self.width = width or self.save_hyperparameters"),
        (Scaled(0.2), r"makes: lr differs"),
        (changed(Net()), "net.weight differs"),
        (frozen(Net()), "net.weight differs"),
        (loaded(Net()), "net.weight differs"),
        (other_attribute(Net()), "bonus differs"),
        (partly_in_evaluation(Net()), "net.training differs"),
        (Net(lr=torch.tensor(0.1)), "its argument lr is a Tensor"),
        (Net(lr="${seed}"), "a config would replace"),
        (Net(lr=float("nan")), "its argument lr is nan"),
        (Net(sizes={"true": 1, "false": 0}), "its argument sizes is a dict, which a config cannot hold"),
        (Net(sizes={"é": 1}), "its argument sizes is a dict, which a config cannot hold"),
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


# ---------------------------------------------------------------------- objects in objects


class Kind(enum.Enum):
    SQUARE, SAW = "square", "saw"


@dataclasses.dataclass
class Options:
    width: int = 3
    names: tuple[str, ...] = ("a",)


def double(x):
    return 2 * x


class Holder(lightning.LightningDataModule):
    """Keeps what it is given."""

    def __init__(self, inner, more=None):
        super().__init__()
        self.inner, self.more = inner, more


class Deep(lightning.LightningModule):
    def __init__(self, net, loss=nn.functional.mse_loss, width=2):
        super().__init__()
        self.save_hyperparameters(ignore=["net"])
        self.net, self.loss = net, loss
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()  # changed in its constructor, which makes it again
        self.head = nn.Linear(2, width)


class NeedsPath(lightning.LightningDataModule):
    def __init__(self, folder, shape=(1, 2)):
        super().__init__()
        self.folder, self.shape = folder, shape
        self.file = folder / "x.csv"
        self.padded = shape.__add__((3,))  # which a list has not


NESTED = {
    "another": (Holder(Holder(3)), {"_target_": f"{HERE}.Holder", "inner": 3, "more": None}),
    "ours": (Holder(Sine(n_points=50)), None),
    "dataclass": (Holder(Options(5)), {"_target_": f"{HERE}.Options", "width": 5, "names": ["a"]}),
    "enum": (Holder(Kind.SAW), {"_target_": f"{HERE}.Kind", "value": "saw"}),
    "path": (Holder(Path("a/b")), "a/b"),
    "function": (Holder(double), {"_target_": "hydra.utils.get_object", "path": f"{HERE}.double"}),
    "torch's": (Holder(torch.tanh), {"_target_": "hydra.utils.get_object", "path": "torch.tanh"}),
    "class": (Holder(nn.ReLU), {"_target_": "hydra.utils.get_object", "path": "torch.nn.ReLU"}),
    "type": (Holder(torch.float64), {"_target_": "hydra.utils.get_object", "path": "torch.float64"}),
    "partial": (
        Holder(functools.partial(torch.optim.SGD, lr=0.1)),
        {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1},
    ),
    "in a list": (Holder([Options(1), Kind.SAW], {"a": Options(2)}), None),
    "module": (Deep(nn.Linear(3, 2, bias=False)), None),
    "layers": (Deep(nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.2))), None),
    "recurrent": (Deep(nn.LSTM(2, 3, num_layers=2, batch_first=True)), None),
    "list": (Deep(nn.ModuleList([nn.Linear(2, 2), nn.LayerNorm(2)]), loss=nn.L1Loss()), None),
    "exactly": (NeedsPath(Path("a"), (4, 5)), None),
}  # fmt: skip


@pytest.mark.parametrize("name", NESTED)
def test_what_an_object_was_given_is_recorded_in_its_node(name):
    thing, inner = NESTED[name]
    node = node_of(thing, "data")
    assert node["_target_"] == f"{HERE}.{type(thing).__name__}", node.get("why")
    if inner is not None:
        assert node["inner"] == inner
    cfg = compose([f"+data={text(node)}"])
    again = build(cfg.data, "data")
    assert difference(thing, again) == "" and type(again) is type(thing)
    if isinstance(thing, nn.Module):
        assert str(again) == str(thing)
    if name in ("function", "torch's", "class", "type", "enum"):
        assert again.inner is thing.inner
    if name == "exactly":
        assert again.padded == (4, 5, 3) and again.file == Path("a/x.csv")
    own = lambda at, target, node: target.startswith(HERE)  # noqa: E731
    assert list(refusals({"data": node}, own)) == []  # needs no trust where the classes are the user's own
    assert list(refusals({"data": node}))


@pytest.mark.parametrize(
    ("thing", "why"),
    [
        (Holder(lambda x: x), "its argument inner, a function"),
        (Holder(Holder(torch.ones(1))), "its argument inner, a Holder: its argument inner is a Tensor"),
        (Holder([shared := Options(), shared]), "the same Options twice"),
        (Deep(torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))), "its argument net"),
        (Holder(open), "inner"),
    ],
    ids=str,
)
def test_what_holds_what_cannot_be_recorded_is_not(thing, why):
    node = node_of(thing, "data")
    if node["_target_"] == GIVEN:
        assert why in node["why"]
    else:
        assert list(refusals({"data": node}, lambda at, target, node: target.startswith(HERE)))


@pytest.mark.parametrize(
    "inner",
    [
        {"_target_": "os.system", "command": "x"},
        {"_target_": "hydra.utils.get_object", "path": "os.system"},
        {"_target_": "hydra.utils.get_object", "path": "torch.load"},
        {"_target_": "hydra.utils.get_object", "path": "torch.tanh", "more": 1},
        {"_target_": "torch.nn.Linear", "in_features": {"_target_": "os.system"}},
        {"_target_": "torch.nn.Linear", "_convert_": "all"},
        [{"a": {"_target_": "torch.hub.load"}}],
        {"_partial_": True},
    ],
    ids=str,
)
def test_a_strangers_node_in_ones_own_needs_trust(inner):
    own = lambda at, target, node: target.startswith(HERE)  # noqa: E731
    assert list(refusals({"data": {"_target_": f"{HERE}.Holder", "inner": inner}}, own))
    assert not list(refusals({"data": {"_target_": f"{HERE}.Holder", "inner": [1, {"a": "b"}]}}, own))


# ---------------------------------------------------------------------- what was used before


class Points(lightning.LightningDataModule):
    def __init__(self, n=40, batch_size=8):
        super().__init__()
        self.n, self.batch_size = n, batch_size
        self.part, self.seen, self.bonus = None, [], 0

    def prepare_data(self):
        self.ready = True

    def setup(self, stage):
        self._split()
        self.seen.append(stage)

    def _split(self):
        x = torch.randn(self.n, 4)
        self.part = TensorDataset(x, x.sum(1, keepdim=True))

    def train_dataloader(self):
        return DataLoader(self.part, batch_size=self.batch_size)

    def reset(self, bonus):
        self.bonus = bonus


class Steps(Net):
    def forward(self, x):
        return self.net(x[:, :1]).mean(1, keepdim=True)

    def training_step(self, batch, i):
        self.last = nn.functional.mse_loss(self(batch[0]), batch[1])
        return self.last

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def predict_step(self, batch, i):
        return self(batch[0])


def trainer():
    return lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                             enable_progress_bar=False, enable_model_summary=False)  # fmt: skip


def test_data_that_was_used_before_is_recorded_by_its_arguments():
    data, module = Points(24), Steps(4)
    data.prepare_data(), data.setup("fit")
    assert node_of(data, "data") == {"_target_": f"{HERE}.Points", "n": 24, "batch_size": 8}
    trainer().fit(module, data)
    assert data.trainer is not None and data.seen == ["fit", "fit"]
    assert node_of(data, "data") == {"_target_": f"{HERE}.Points", "n": 24, "batch_size": 8}
    assert node_of(Holder(data), "data")["inner"]["n"] == 24
    assert "net.weight differs" in node_of(module, "module")["why"]  # what was trained is kept
    module = Steps(4)
    trainer().predict(module, DataLoader(TensorDataset(torch.ones(2, 4)), batch_size=1))
    assert node_of(module, "module")["width"] == 4
    data.reset(3)  # no Trainer calls it
    assert "bonus differs" in node_of(data, "data")["why"]


class Ordered(Points):
    def _split(self):
        x = torch.arange(4.0 * self.n).view(-1, 4)
        self.part = TensorDataset(x, x.sum(1, keepdim=True))


class Autoencoder(Net):
    def __init__(self, width=3, tied=False):
        super().__init__(width)
        self.width, self.tied = width, tied
        self.there, self.back = nn.Linear(width, width), nn.Linear(width, width)
        if tied:
            self.back.weight = self.there.weight


def test_weights_that_were_tied_by_hand_are_not_what_the_constructor_makes():
    assert "why" not in node_of(Autoencoder(), "module") and "why" not in node_of(
        Autoencoder(tied=True), "module"
    )
    tied, parted = Autoencoder(), Autoencoder(tied=True)
    tied.back.weight = tied.there.weight
    parted.back.weight = nn.Parameter(parted.there.weight.detach().clone())
    assert "back.weight differs" in node_of(tied, "module")["why"]
    assert "back.weight differs" in node_of(parted, "module")["why"]


def test_data_that_was_changed_behind_its_setup_is_no_longer_what_its_arguments_make():
    data = Ordered(24)
    data.prepare_data(), data.setup("fit")
    assert node_of(data, "data")["n"] == 24
    data.part = torch.utils.data.Subset(data.part, range(4))
    assert "part differs" in node_of(data, "data")["why"]
    data = Ordered(24)
    data.setup("fit"), data.setup("fit")
    data.part.tensors[0][3] = 1.0
    assert "part" in node_of(data, "data")["why"]
    for ours in (Sine(n_points=200), Tokens(n_sequences=60), Chars(limit=3000)):
        ours.setup()
        assert "why" not in node_of(ours, "data")
    sine = Sine(n_points=200)
    sine.setup()
    sine.series[3] = 7.0
    assert "series differs" in node_of(sine, "data")["why"]


class Since:
    __slots__ = ("year",)

    def __init__(self, year):
        self.year = year


class Weather(Points):
    """Keeps things that have no attributes in `vars`."""

    def __init__(self, n=24):
        super().__init__(n)
        self.table = pandas.DataFrame({"day": [1, 2, 3], "rain": [0.5, None, 2.0]})
        self.gaps, self.last = np.array([1.0, np.nan]), deque([1, 2], maxlen=2)
        self.start, self.step = datetime.date(2020, 1, 1), datetime.timedelta(days=1)
        self.since, self.rows = Since(1990), range(3)


CHANGES = {
    "table": lambda data: data.table[data.table.day > 1],
    "gaps": lambda data: data.gaps + 1,
    "last": lambda data: deque([1, 3], maxlen=2),
    "start": lambda data: datetime.date(2021, 1, 1),
    "step": lambda data: datetime.timedelta(days=7),
    "since": lambda data: Since(2000),
    "rows": lambda data: range(2),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_what_has_no_attributes_is_seen(name):
    data = Weather()
    assert node_of(data, "data")["_target_"] != GIVEN
    setattr(data, name, CHANGES[name](data))
    assert re.search(rf"{name}\S* differs", node_of(data, "data")["why"])


def test_a_callback_that_was_used_before_is_recorded_by_its_arguments():
    stopping = EarlyStopping("loss/val", patience=3)
    stopping.wait_count, stopping.best_score = 2, torch.tensor(0.5)
    assert node_of(stopping, "callbacks")["patience"] == 3


class Hook2(lightning.Callback):
    def __init__(self, n):
        self.n = n


def test_callbacks_of_one_class_whose_name_ends_with_a_digit_are_all_kept():
    cfg = compose(["experiment=sine", *overrides_of(callbacks=[Hook2(n) for n in (5, 6, 7)])])
    kept = {name: node.n for name, node in cfg.callbacks.items() if name.startswith("hook2")}
    assert kept == {"hook2": 5, "hook2_2": 6, "hook2_3": 7}


class Progress(lightning.Callback):
    def __init__(self, colour="red"):
        self.colour = colour


def test_a_callback_with_the_name_of_one_of_rnnlabs_is_beside_it():
    cfg = compose(["experiment=sine", *overrides_of(callbacks=[Progress()])])
    assert cfg.callbacks.progress._target_ == "rnnlab.terminal.progress.Progress"
    assert cfg.callbacks.progress_2 == {"_target_": f"{HERE}.Progress", "colour": "red"}
    cfg = compose(["experiment=sine", *overrides_of(callbacks=[OurProgress(0.5)])])
    assert cfg.callbacks.progress.refresh_s == 0.5 and "progress_2" not in cfg.callbacks


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
        "a\\b",
        "a\\\\b",
        r"\s+",
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
    assert global_names("def f(x):\n    return __scale * x, __name__\n") - {"f"} == {"__scale"}


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


BOUNDS = (-math.inf, [math.nan], {"most": math.inf})


def test_numbers_that_are_not_finite_are_kept():
    def bounds():
        return BOUNDS

    module = importlib.import_module(target_of(bounds).rpartition(".")[0])
    assert repr(module.bounds()) == repr(BOUNDS)


def test_a_variable_of_the_function_around_is_not_taken_for_a_global_one():
    BOUNDS = 3

    def bounds():
        return BOUNDS

    with pytest.raises(Unrecordable, match="bounds uses BOUNDS, a variable of the function around it"):
        target_of(bounds)


def test_a_variable_around_that_the_body_of_a_class_uses_is_not_taken_for_a_global_one():
    BOUNDS = 3

    class Bounded:
        bounds = BOUNDS

        def most(self):
            return self.bounds

    class Free:
        def most(self, bounds=TWICE):
            return bounds

    with pytest.raises(Unrecordable, match="Bounded uses BOUNDS, a variable of the function around it"):
        target_of(Bounded)
    assert target_of(Free).endswith(".Free")


def test_a_variable_around_that_a_definition_uses_is_not_taken_for_a_global_one():
    """In defaults, decorators, bases and annotations, which are evaluated in the function around them."""
    TWICE, as_it_is, Unrecordable_ = 3, (lambda function: function), Unrecordable

    def by_default(x, by=TWICE):
        return by * x

    @as_it_is
    def decorated(x):
        return x

    class Derived(Unrecordable_):
        pass

    for kind, name in ((by_default, "TWICE"), (decorated, "as_it_is")):
        with pytest.raises(
            Unrecordable, match=f"{kind.__name__} uses {name}, a variable of the function around it"
        ):
            target_of(kind)
    with pytest.raises(Unrecordable, match="Derived uses Unrecordable_, which is not defined beside it"):
        target_of(Derived)


def test_a_class_that_wraps_itself_is_refused():
    class Loop:
        def go(self):
            return self

    Loop.go.__wrapped__ = Loop.go
    with pytest.raises(Unrecordable, match="Loop wraps itself"):
        target_of(Loop)


TWICE = 2


def as_it_is(function):
    return function


def test_a_kept_text_is_read_as_it_was_written_whatever_the_system_speaks(monkeypatch):
    class Telling:
        def tell(self):
            return "é"

    module = target_of(Telling).rpartition(".")[0]
    text = Path(importlib.import_module(module).__file__).read_bytes().decode()
    monkeypatch.setattr("io.text_encoding", lambda given, level=2: given or "ascii")
    assert kept([module]) == {module: text}


def test_what_is_decorated_is_kept():
    @as_it_is
    def plain(x):
        return TWICE * x

    @torch.no_grad()
    def wrapped(x):
        return TWICE * x

    class Holding:
        @torch.no_grad()
        def call(self, x):
            return TWICE * x

    module, wrapping, holding = (
        importlib.import_module(target_of(kind).rpartition(".")[0]) for kind in (plain, wrapped, Holding)
    )
    assert module.plain(3) == wrapping.wrapped(3) == holding.Holding().call(3) == 6


def test_a_text_of_several_lines_is_kept_as_it_is():
    class Telling:
        """At the margin
        come some lines of it.
        """

        def tell(self):
            return """
            two
                lines"""

    module = importlib.import_module(target_of(Telling).rpartition(".")[0])
    assert module.Telling().tell() == Telling().tell()


def test_a_source_under_another_name_is_refused():
    with pytest.raises(UserError, match="not the one that was trained with"):
        install({"source_0123456789ab": "import os\n"})
    with pytest.raises(UserError, match="not the one"):
        install({"os": "import sys\n"})


class Decaying(Net):
    """A hook of it changes what may also be set by hand."""

    def __init__(self, width=3):
        super().__init__(width)
        self.alpha = 1.0

    def on_train_epoch_end(self):
        self.alpha = self.alpha / 2


def test_the_mode_of_a_whole_module_is_no_argument():
    assert node_of(Net().eval(), "module")["_target_"] == f"{HERE}.Net"


def test_a_module_that_is_compiled_as_a_whole_costs_one_line():
    with pytest.raises(UserError, match=r"^module: torch.compile has wrapped it"):
        node_of(torch.compile(Net()), "module")


def test_what_was_set_by_hand_is_not_taken_for_a_trainers_doing():
    module = Decaying()
    assert node_of(module, "module")["_target_"] == f"{HERE}.Decaying"
    module.alpha = 5.0
    assert "alpha differs" in node_of(module, "module")["why"]


EDITS = {
    "filled": lambda net: net[0].weight.data.fill_(0.5),
    "small": lambda net: net[0].bias.data.fill_(0.1),
    "scaled": lambda net: net[0].weight.data.mul_(10),
    "shifted": lambda net: net[3].weight.data.add_(5),
    "not finite": lambda net: net[3].weight.data[0].fill_(float("nan")),
    "of fixed numbers": lambda net: net[1].weight.data.mul_(1.01),
    "a buffer": lambda net: net[1].running_var.data.fill_(2.0),
}


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8))


@pytest.mark.parametrize("how", EDITS)
def test_a_weight_that_was_edited_through_data_is_seen(how):
    net = small_net()
    EDITS[how](net)
    with pytest.raises(Unrecordable, match="differs"):
        recorded(net)


def test_fresh_weights_are_no_edits():
    for seed in range(40):
        torch.manual_seed(seed)
        recorded(small_net())
        recorded(nn.Sequential(nn.Linear(1, 1), nn.Embedding(3, 2), nn.GRU(2, 3), nn.LayerNorm(3)))


class Recurrent(lightning.LightningModule):
    def __init__(self, width=32):
        super().__init__()
        self.width, self.rnn, self.norm = width, nn.GRU(1, width), nn.BatchNorm1d(width)


def test_weights_drawn_anew_through_data_are_seen_and_fresh_ones_are_not_taken_for_them():
    edits = [
        nn.init.xavier_uniform_,
        nn.init.orthogonal_,
        lambda w: w.normal_(0, 0.1),
        lambda w: w.fill_(0.1),
    ]
    for seed, edit in enumerate([None] * 5 + edits):
        torch.manual_seed(seed)
        module = Recurrent()
        if edit is not None:
            edit(module.rnn.weight_hh_l0.data)
        why = node_of(module, "module").get("why", "")
        assert why.endswith("rnn.weight_hh_l0 differs") if edit else not why


class Wide(Forecaster):
    """Twice as wide as it is asked to be."""

    def __init__(self, spec, width, seed=0):
        super().__init__(spec, seed, cell="lstm", hidden_size=2 * width)


class Leaking(Cell):
    gates, states = 1, 1

    def step(self, u, state):
        (h,) = state
        h = 0.9 * h + tanh(u + self.recur(h))
        return h, (h,)


def fresh(kind, **options):
    data = Sine(n_points=300)
    data.prepare_data()
    data.setup("fit")
    return kind(data.spec, **options)


def test_a_task_of_rnnlabs_is_recorded_with_the_options_of_its_stack():
    given = {"cell": "lstm", "hidden_size": 5, "loss": "mae"}
    expected = compose([f"model.{key}={value}" for key, value in given.items()]).model
    for module in (fresh(Forecaster, **given), functools.partial(Forecaster, **given)):
        node = node_of(module, "module")
        assert node == {key: expected[key] for key in node} and node.keys() >= given.keys()
    assert node_of(fresh(Forecaster, cell=resolve("gru"), hidden_size=5), "module")["cell"] == "gru"
    assert node_of(fresh(Forecaster, cell=Leaking, hidden_size=5), "module")["cell"] == f"{HERE}.Leaking"
    assert node_of(fresh(Wide, width=3), "module") == {"_target_": f"{HERE}.Wide", "width": 3}


def test_a_task_of_rnnlabs_that_was_edited_is_handed_over():
    module = fresh(Forecaster, cell="gru", hidden_size=5)
    module.stack.layers[0].weight_ih.data.zero_()
    assert node_of(module, "module")["_target_"] == GIVEN
    module = fresh(Forecaster, cell="gru", hidden_size=5)
    module.subtract_last = True
    assert node_of(module, "module")["_target_"] == GIVEN


def test_a_task_of_rnnlabs_is_trained_as_its_config_is(small, tmp_path):
    base = ("trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.threads=1", "callbacks=none")
    given = {"cell": "gru", "hidden_size": 5, "init": "orthogonal"}
    named = small(*(f"model.{key}={value}" for key, value in given.items()), "data.n_points=300", base=base)
    module = fresh(Forecaster, **given)
    given = rnnlab.train(
        *base, f"paths.outputs={tmp_path}", module=module, data=Sine(n_points=300), quiet=True
    )
    assert not given.manifest.get("not_reproducible")
    assert given.metrics_file.read_bytes() == named.metrics_file.read_bytes()


def test_a_single_callback_is_taken_as_a_list_of_one():
    assert overrides_of(callbacks=Timer()) == overrides_of(callbacks=[Timer()])
    assert overrides_of(callbacks=None, loggers=()) == []


class Métrique(Callback):
    pass


class Λ(Callback):
    pass


def test_a_callback_may_have_any_name_that_python_allows():
    cfg = compose(["experiment=sine", *overrides_of(callbacks=[Métrique(), Λ()])])
    assert {"metrique", "object"} <= cfg.callbacks.keys()


def test_what_is_neither_a_module_nor_a_data_set_is_a_line():
    with pytest.raises(UserError, match=r"^module: Linear is no LightningModule"):
        overrides_of(module=nn.Linear(2, 1))
    frame = pandas.DataFrame({"a": [1.0]})
    with pytest.raises(
        UserError, match=r"^data: DataFrame is no LightningDataModule; rnnlab\.data\.Series\(frame"
    ):
        overrides_of(data=frame)


CHANGED = """
from __future__ import annotations
import sys, xml
import xml.etree.ElementTree
from dataclasses import dataclass
from rnnlab.runs.kept_source import Unrecordable, keep, module_text

@dataclass
class Config:
    width: int = 8

class Base:
    def one(self: Base) -> Base:
        return 1
    def two(self):
        return 2

class Mine(Base):
    LEAK = 0.2
    def step(self, x: Absent) -> Absent:
        return self.LEAK * x + Config().width
    def read(self, text):
        return xml.etree.ElementTree.fromstring(text).tag

open("alone.py", "w").write(module_text(Mine))
keep(Mine)

def refused():
    try:
        keep(Mine)
    except Unrecordable as error:
        print(str(error).partition(" was changed")[0])

Mine.LEAK = 0.9
refused()
Mine.LEAK = 0.2
keep(Mine)
step, Mine.step = Mine.step, lambda self, x: x
refused()
Mine.step = step
Base.one = lambda self: 2
refused()
"""


def test_a_class_that_was_changed_after_its_definition_is_refused(tmp_path, monkeypatch):
    """And one with a dataclass, annotations of names that do not exist, and a module of a package is kept."""
    (tmp_path / "script.py").write_text(CHANGED)
    for words, said in (
        (["script.py"], ["Mine.LEAK", "Mine.step", "Base.one"]),
        (["-c", "import alone; m = alone.Mine(); print(m.step(5), m.read('<a/>'))"], ["9.0 a"]),
    ):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.stdout.splitlines() == said, done.stderr


def test_a_partial_is_no_cell():
    with pytest.raises(UserError, match=r"^cell: must be a class; its options are overrides"):
        rnnlab.train("experiment=sine", cell=functools.partial(Cell, k=0.9))


def test_an_imported_class_whose_method_was_replaced_is_refused(tmp_path, monkeypatch):
    (tmp_path / "patchable.py").write_text(
        "from torch import tanh\nfrom rnnlab import Cell\nclass Normed(Cell):\n    gates, states = 1, 1\n"
        "    def step(self, u, state):\n        return u, (u,)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    kind = importlib.import_module("patchable").Normed
    assert target_of(kind) == "patchable.Normed"
    monkeypatch.setattr(kind, "step", lambda self, u, state: (-u, (-u,)))
    with pytest.raises(UserError, match=r"^cell: Normed.step was replaced after the import; make a class"):
        rnnlab.train("experiment=sine", cell=kind)


def test_an_imported_class_with_a_decorator_of_another_module_is_recorded(tmp_path, monkeypatch):
    (tmp_path / "decorators.py").write_text(
        "def loud(f):\n    def called(*a):\n        return f(*a)\n    return called\n"
    )
    (tmp_path / "decorated.py").write_text(
        "import decorators\nclass Loud:\n    @decorators.loud\n    def step(self):\n        return 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert target_of(importlib.import_module("decorated").Loud) == "decorated.Loud"


def test_two_callbacks_of_one_class_with_one_place_for_their_states_cost_a_line(tmp_path):
    class Count(Callback):
        def state_dict(self):
            return {}

    with pytest.raises(UserError, match=r"^trainer: Found more than one stateful callback of type `Count`"):
        rnnlab.train("experiment=sine", f"paths.outputs={tmp_path}", callbacks=[Count(), Count()], quiet=True)
