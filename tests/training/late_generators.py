"""Generators without a seed wherever a module may have them, one with a seed, and numbers drawn at its top."""

import random

import numpy as np
import torch
from numpy.random import PCG64, Generator, default_rng

MANY = [default_rng(), random.Random()]
NAMED = {"a": default_rng(seed=None)}
try:
    TRIED = np.random.RandomState()
finally:
    BITS = Generator(PCG64())


class Held:
    def __init__(self):
        self.rng = random.Random(None)


HELD, TORCHS, SEEDED = Held(), torch.Generator(), default_rng(4)
TORCHS.seed()
DRAWN = float(np.random.rand()) + random.random() + float(torch.rand(()))


def noise():
    numpys = MANY[0].normal() + NAMED["a"].normal() + TRIED.normal() + BITS.normal()
    return numpys + MANY[1].random() + HELD.rng.random() + float(torch.rand((), generator=TORCHS)) + DRAWN
