"""Decisions of verdicts."""
