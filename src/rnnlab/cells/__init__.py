"""The equations, one family a file."""

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.elman import Elman
from rnnlab.cells.gru import GRU
from rnnlab.cells.lstm import LSTM
from rnnlab.cells.registry import CELLS, resolve

__all__ = ["CELLS", "GRU", "LSTM", "Cell", "Elman", "State", "resolve"]
