"""The wiring of webhooks: the sweep finds endpoints, one message each has a worker send to it."""

from celery import shared_task

from apps.observability import metrics
from apps.observability.pileup import once_a_round
from apps.webhooks import delivery, sweeps


@shared_task(name="webhooks.deliver", ignore_result=True)
@once_a_round
@metrics.sweep("deliver_webhooks")
def deliver() -> None:
    for endpoint_id in sweeps.due():
        send.delay(endpoint_id)


@shared_task(name="webhooks.send", ignore_result=True)
def send(endpoint_id: str) -> None:
    delivery.deliver_due(endpoint_id)


@shared_task(name="webhooks.purge", ignore_result=True)
@once_a_round
@metrics.sweep("purge_webhooks")
def purge() -> None:
    sweeps.purge()
