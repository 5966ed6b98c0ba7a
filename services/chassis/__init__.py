"""How any service process lives: settings, clock, Kafka, logs, telemetry, lifecycle, HTTP, blobs, keys, tokens.

Owns nothing of judging: a word of the domain here is in the wrong room.
"""
