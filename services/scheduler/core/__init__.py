"""Decisions of scheduler."""
