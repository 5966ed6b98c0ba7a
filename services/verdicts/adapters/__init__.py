"""Effects of verdicts."""
