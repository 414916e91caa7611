"""What the terminal and the pages show of runs and experiments."""
