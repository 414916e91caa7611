"""The folders of runs are the ledger: what a run was, who it is, and what came of it."""
