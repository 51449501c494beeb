"""Batches, their chunks, workers and sweeps in the admin: to look at, and to mend with actions."""

from apps.batches.admin import batches, chunks, fleet

__all__ = ["batches", "chunks", "fleet"]
