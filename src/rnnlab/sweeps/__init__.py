"""Many runs at once: from a command line to points, to runs in warm processes, to a leaderboard."""
