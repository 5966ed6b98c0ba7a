"""Decisions of ingest."""
