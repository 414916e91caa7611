"""Which generators are the user's own."""

import random

import numpy as np
import torch

from rnnlab.runs.own_generators import own_generators


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
