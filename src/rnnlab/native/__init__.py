"""The native engine: kernels in C, compiled at first use, and the thin Python around them."""

from rnnlab.native.library import obstacle, status
from rnnlab.native.recurrence import recurrence

__all__ = ["obstacle", "recurrence", "status"]
