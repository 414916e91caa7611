"""Training a run again from its folder, and saying how well the two agree."""
