"""Kafka, Postgres, HTTP and WebSockets of the verdict store."""
