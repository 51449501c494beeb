"""When beat sends which sweep (architecture.md §5).

Messages have no `expires`: Celery would hold it against the worker's own clock, and one that is wrong by a minute would
never sweep again. Those that pile up while no worker is there are passed over (`apps.observability.pileup`).
"""

BEAT_SCHEDULE = {
    "resume": {"task": "batches.resume", "schedule": 10.0},
    "purge files": {"task": "files.purge", "schedule": 3600.0},
    "purge idempotency keys": {"task": "idempotency.purge", "schedule": 3600.0},
    "purge batches": {"task": "batches.purge", "schedule": 3600.0},
    "purge webhooks": {"task": "webhooks.purge", "schedule": 3600.0},
    "deliver": {"task": "webhooks.deliver", "schedule": 5.0},
    "expire": {"task": "batches.expire", "schedule": 10.0},
}
