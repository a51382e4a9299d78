"""Trained stages on disk, sealed: manifests, records and compiled programs."""
