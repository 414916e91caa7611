"""Which generators are the user's own."""

import importlib
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, StackDataset, Subset, TensorDataset

from rnnlab.runs import generators
from rnnlab.runs import own_generators as own
from rnnlab.runs.own_generators import own_generators
from rnnlab.training.generators import Generators


class Holding:
    def __init__(self, **held):
        vars(self).update(held)


class Wrapper:
    def __getattr__(self, name):
        raise KeyError(name)


def test_what_all_share_is_nobodys_own():
    shared = Holding(a=np.random, b=random, c=torch, d=torch.default_generator, e=np.random.mtrand._rand,
                     f=random._inst, g=random.random)  # fmt: skip
    assert own_generators({"data": shared}) == {}


def test_ones_own_are_found_once_wherever_they_are():
    mine, other = random.Random(3), np.random.default_rng(0)
    found = own_generators({"data": Holding(sets=[Holding(rng=mine)], again=mine), "model": {"noise": other}})
    assert found == {"data.sets.0.rng": mine, "model.noise": other}


def test_an_object_that_answers_oddly_stops_nothing():
    assert own_generators({"data": Holding(odd=Wrapper())}) == {}


MODULE = """
from random import Random
import numpy as np, torch
from numpy.random import default_rng

LONG = 0x8c3c010cb4754c905776bdac5ee7501a
A, B, C, D = default_rng(), default_rng(), Random(), Random()
SEEDED = default_rng(LONG)
FAR = torch.Generator().manual_seed(0x1000000000000001)
HERE = default_rng(0x8c3c010cb4754c905776bdac5ee7501b)
OWN = Random(3)
try:
    raise KeyError
except KeyError:
    CAUGHT = Random()

def draw():
    OWN = Random()
    return OWN.random()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "many_generators.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("many_generators")
    del sys.modules["many_generators"]


def test_those_without_a_seed_draw_apart(module):
    own.begin(["many_generators.X"], 1)
    assert module.A.random() != module.B.random() and module.C.random() != module.D.random()
    held = {"a": np.random.default_rng(), "b": np.random.default_rng(), "m": module.A, "n": module.B}
    Generators(1).reseed(held, 3, 0)
    assert len({generator.random() for generator in held.values()}) == 4


def test_a_modules_own_seeds_hold_whatever_their_size(module):
    drawn = {}
    for seed in (1, 2):
        own.begin(["many_generators.X"], seed)
        numbers = (module.SEEDED.random(), module.HERE.random(), module.OWN.random())
        drawn[seed] = (*numbers, float(torch.rand((), generator=module.FAR)))
        drawn[-seed] = module.A.random(), module.CAUGHT.random()
    assert drawn[1] == drawn[2]
    assert not set(drawn[-1]) & set(drawn[-2])


def test_what_a_long_way_leads_to_first_is_searched_by_the_short_one():
    held = Holding(inner=Holding(drawn=np.random.default_rng(1)))
    assert [*own_generators({"a": [[[[held]]]], "b": held})] == ["b.inner.drawn"]


def test_modules_in_modules_and_data_sets_in_data_sets_are_searched_however_deep():
    drop, noise = torch.nn.Dropout(), Holding(rng=random.Random(3))
    drop.rng = torch.Generator()
    model, data = drop, TensorDataset(torch.zeros(4))
    data.transform = Holding(transforms=[noise])
    for _ in range(9):
        model = torch.nn.Sequential(model)
        data = ConcatDataset([Subset(data, [0, 1])])
    found = own_generators({"model": model, "loader": DataLoader(data)})
    assert [*found.values()] == [drop.rng, noise.rng]
    data.datasets.append(data)
    model.append(model)
    assert own_generators({"model": model, "loader": DataLoader(data)}) == found


class Noisy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng()


def test_modules_in_a_module_and_data_sets_in_a_data_set_are_searched_however_many():
    assert len(own_generators({"model": torch.nn.ModuleList(Noisy() for _ in range(150))})) == 150
    sets = [TensorDataset(torch.zeros(4)) for _ in range(150)]
    for one in sets:
        one.rng = np.random.default_rng()
    assert len(own_generators({"data": ConcatDataset(sets)})) == 150
    data = sets[0]
    for _ in range(6):
        data = StackDataset(StackDataset(data), sets[1])
        data = StackDataset(a=data)
    assert [*own_generators({"data": data}).values()] == [sets[0].rng, sets[1].rng]


def test_what_an_older_checkpoint_does_not_know_is_seeded_by_the_run():
    def resumed(saved):
        model = torch.nn.Sequential(Noisy(), Noisy())
        states = Generators(7)
        states.on_load_checkpoint(None, model, {"generators": generators.states() | saved})
        states.on_train_start(SimpleNamespace(callbacks=[]), model)
        states.go_on()
        return {at: g.random() for at, g in states.own.items()}

    first, second = resumed({})
    assert resumed({}) == resumed({"own": {}}) == resumed({"own": {"model.old": None}})
    known = np.random.default_rng(3)
    found = resumed({"own": {second: own.state(known)}})
    assert found == {first: resumed({})[first], second: known.random()}
    assert len({*found.values(), *resumed({}).values()}) == 3


@pytest.mark.parametrize("here", [0, 1, 3])
def test_a_run_of_a_machine_with_other_gpus_goes_on(here, monkeypatch):
    restored = []
    default = tuple(
        SimpleNamespace(set_state=lambda state, i=i: restored.append((i, state))) for i in range(here)
    )
    monkeypatch.setattr(torch.cuda, "default_generators", default)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
    monkeypatch.setattr(torch.cuda.random, "_lazy_call", lambda call: call())
    monkeypatch.setattr(torch.cuda.random, "is_initialized", lambda: True)
    generators.restore(generators.states() | {"cuda": ["first", "second"]})
    assert restored == [(0, "first"), (1, "second")][:here]


def test_keys_that_read_alike_are_two_places():
    one, two = random.Random(1), random.Random(2)
    assert own_generators({"data": Holding(held={1: one, "1": two})}) == {
        "data.held.1": one,
        "data.held.str 1": two,
    }


def test_a_random_state_of_any_kind_is_seeded_anew():
    for kind in (np.random.MT19937, np.random.PCG64, np.random.Philox):
        drawn = []
        for made in (np.random.RandomState(kind(3)), np.random.RandomState(kind(4))):
            made.normal()  # it keeps a second number for the next call
            own.reseed(made, 5, 1, 2)
            drawn.append(made.normal(size=3).tolist())
        assert drawn[0] == drawn[1]


def test_a_random_state_without_a_seed_is_seeded_by_the_run():
    assert own.by_system(np.random.RandomState())
    assert not any(map(own.by_system, (np.random.RandomState(3), np.random.RandomState(np.random.PCG64(3)))))
    firsts = {own.first_seed(np.random.RandomState(), 7) for _ in range(2)}
    assert len(firsts) == 1
