"""The wiring of the files' sweep."""

from celery import shared_task

from apps.files import sweeps
from apps.observability import metrics
from apps.observability.pileup import once_a_round


@shared_task(name="files.purge", ignore_result=True)
@once_a_round
@metrics.sweep("purge_files")
def purge() -> None:
    sweeps.purge()
