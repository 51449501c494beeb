"""Which queue a task's message goes to (architecture.md §5)."""

from typing import Any
from zlib import crc32

from django.conf import settings

from zerobatch.schedule import BEAT_SCHEDULE

SWEEPS = frozenset(entry["task"] for entry in BEAT_SCHEDULE.values())


def route(name: str, args: tuple[Any, ...], *_: Any, **__: Any) -> dict[str, str]:
    """Chunks go to their project's shard; whose chunk a message then runs is decided at the claim."""
    if name == "batches.run_chunk":
        project_id = args[0]
        return {"queue": f"chunks.{crc32(project_id.encode()) % settings.CHUNK_QUEUES}"}
    if name in SWEEPS:
        return {"queue": "sweeps"}
    if name == "webhooks.send":  # waits for servers that are not ours: nothing of ours may wait behind it
        return {"queue": "webhooks"}
    return {"queue": "control"}
