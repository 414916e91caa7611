"""The native engine: kernels in C, compiled at first use, and a thin layer of Python."""

from rnnlab.native.bindings import obstacle, status
from rnnlab.native.engine import run as recurrence
from rnnlab.native.flat import Flat, adopt, flatten
from rnnlab.native.program import Part, Program, Steps
from rnnlab.native.sources import Characters, Pairs, Sequences, Windows

__all__ = [
    "Characters",
    "Flat",
    "Pairs",
    "Part",
    "Program",
    "Sequences",
    "Steps",
    "Windows",
    "adopt",
    "flatten",
    "obstacle",
    "recurrence",
    "status",
]
