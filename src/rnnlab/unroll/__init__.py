"""A small recurrence, step by step, for the reader."""
