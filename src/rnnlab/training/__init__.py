"""Trains a run: a loop inside Lightning's Trainer, and checkpoints, logging and resuming around it."""
