"""Effects of ingest."""
