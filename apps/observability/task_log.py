"""Every log line that a Celery task causes names the task and its message's id."""

from typing import Any

import structlog
from celery.signals import task_postrun, task_prerun


@task_prerun.connect
def name_the_task(task_id: str, task: Any, **_: Any) -> None:
    """What an earlier task of this thread has bound is over."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task=task.name, task_id=task_id)


@task_postrun.connect
def forget_the_task(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()
