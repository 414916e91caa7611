"""Output to the terminal: the console, cleaning of unsafe text, and the messages of runs."""
