"""The wiring of the keys' sweep."""

from celery import shared_task

from apps.idempotency.models import IdempotencyKey
from apps.observability import metrics
from apps.observability.pileup import once_a_round


@shared_task(name="idempotency.purge", ignore_result=True)
@once_a_round
@metrics.sweep("purge_idempotency")
def purge() -> None:
    """Forgets keys whose day is over."""
    IdempotencyKey.objects.old().delete()
