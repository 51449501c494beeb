"""The wiring of the files' sweep."""

from celery import shared_task

from apps.files import sweeps


@shared_task(name="files.purge", ignore_result=True)
def purge() -> None:
    sweeps.purge()
