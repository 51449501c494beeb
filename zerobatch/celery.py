"""The Celery app; its settings are Django's `CELERY_*`."""

import ctypes
import gc
import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_init, worker_ready

from apps.observability import task_log  # noqa: F401  its receivers are connected when it is imported

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerobatch.settings")

M_ARENA_MAX = -8  # malloc.h

app = Celery("zerobatch")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Django has set up the structured logs; a receiver here keeps Celery from replacing them."""


@worker_init.connect
@beat_init.connect
def refuse_misconfiguration(**_: Any) -> None:
    """As the web process does; imported late, because Django is not set up when this module is."""
    from apps.api import checks  # noqa: PLC0415

    checks.refuse_misconfiguration()


@worker_init.connect
def share_memory_between_threads(**_: Any) -> None:
    """A tenth off a worker's peak (`benchmarks/growth.py`).

    glibc gives each thread a heap of its own, and what one has freed of a chunk's lines the others cannot use.
    """
    if limit := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc's; as MALLOC_ARENA_MAX would
        limit(M_ARENA_MAX, 2)


@worker_ready.connect
def serve_metrics(**_: Any) -> None:
    from apps.observability import server  # noqa: PLC0415

    server.start()


@worker_ready.connect
def collect_garbage_less_often(**_: Any) -> None:
    """A third off a worker's CPU (docs/benchmarks.md).

    Tasks of lines come and go by the thousand, and at Python's default threshold each pass of the cyclic collector
    walks all objects of Django and Celery, which live as long as the process. They are taken out, passes made rarer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
