"""Proof: training a run again from its folder, saying how well the two agree, and what differs between them."""
