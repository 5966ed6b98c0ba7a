"""Decisions of executor."""
