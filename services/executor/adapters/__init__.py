"""Effects of executor."""
