"""When beat sends which sweep (architecture.md §5)."""

BEAT_SCHEDULE = {
    "resume": {"task": "batches.resume", "schedule": 10.0, "options": {"expires": 10}},
    "expire": {"task": "batches.expire", "schedule": 10.0, "options": {"expires": 10}},
}
