"""Instruments: callbacks that measure and show a recurrence during its training."""
