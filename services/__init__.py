"""The services of Assize. Each lives alone: none imports another."""
