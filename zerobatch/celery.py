"""The Celery app; its settings are Django's `CELERY_*`."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerobatch.settings")

app = Celery("zerobatch")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Django has set up the structured logs; a receiver here keeps Celery from replacing them."""
