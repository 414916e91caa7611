"""Reports on runs and experiments: leaderboards, comparisons, plots and HTML pages."""
