"""The one-machine stack: real Kafka, PostgreSQL and Docker Engine beside the four services, under one supervisor.

Owns the state folder. Never decides anything about judging, and never touches an engine that it did not start.
"""
