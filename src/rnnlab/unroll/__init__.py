"""Shows a recurrence step by step, in the terminal or as a page."""
