"""Callbacks that look into a recurrence while it trains."""
