"""Runs cells over time: the stack, its initial weights, the carry, the engines."""

from rnnlab.recurrence.carry import Carry
from rnnlab.recurrence.conversion import from_torch, to_torch
from rnnlab.recurrence.engines import Choice, choose
from rnnlab.recurrence.initialisation import initialise
from rnnlab.recurrence.outline import Outline
from rnnlab.recurrence.stack import Stack

__all__ = ["Carry", "Choice", "Outline", "Stack", "choose", "from_torch", "initialise", "to_torch"]
