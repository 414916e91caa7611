"""Sweeps: a command line gives points, worker processes train their runs, and a leaderboard reports the results."""
