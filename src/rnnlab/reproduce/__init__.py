"""Trains a run again from its folder, and reports how well the two runs agree."""
