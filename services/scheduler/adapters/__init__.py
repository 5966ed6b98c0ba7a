"""Effects of scheduler."""
