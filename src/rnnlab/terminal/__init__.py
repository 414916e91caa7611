"""What the terminal is told: the one console, what may reach it, and what a run says."""
