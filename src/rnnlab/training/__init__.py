"""Training a run: the loop is Lightning's, the bookkeeping ours."""
