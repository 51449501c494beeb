"""When beat sends which sweep (architecture.md §5)."""

BEAT_SCHEDULE = {
    "resume": {"task": "batches.resume", "schedule": 10.0, "options": {"expires": 10}},
    "purge files": {"task": "files.purge", "schedule": 3600.0, "options": {"expires": 3600}},
    "purge batches": {"task": "batches.purge", "schedule": 3600.0, "options": {"expires": 3600}},
    "expire": {"task": "batches.expire", "schedule": 10.0, "options": {"expires": 10}},
}
