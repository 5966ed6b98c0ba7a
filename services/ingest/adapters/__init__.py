"""Ingest's effects: HTTP, Kafka, blobs, telemetry."""
