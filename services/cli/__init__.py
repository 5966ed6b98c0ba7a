"""The `assize` command.

Consumes: the HTTP and WebSocket doors of ingest and verdicts, and the one-machine stack. Emits: what a person or a
script asked for. Owns: nothing. Never does: judge, or know a rule of judging.
"""
