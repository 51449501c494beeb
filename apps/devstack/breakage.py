"""Breaks four things in a running stack, as nights do, for an operator to find and mend (docs/operations.md)."""

import json
from typing import NamedTuple

from django.contrib.auth.models import User

from apps.batches import tasks, workers
from apps.batches.lifecycle import BatchRequest
from apps.batches.models import Batch, Chunk
from apps.batches.pipeline.submit import submit
from apps.batches.states import ChunkState
from apps.devstack.waiting import until
from apps.files import storage, uploads
from apps.projects.models import ApiKey, Project
from apps.upstreams.models import Upstream

OPERATOR = "operator"
NOBODY = "http://127.0.0.1:9/v1"
"""The discard port: nobody listens there."""
CRAWLER_BATCHES, CRAWLER_LINES, SUMMARIES_LINES = 6, 6_000, 4_000
"""Work for half an hour and more: nothing that is wrong goes by itself before it is mended."""


class Broken(NamedTuple):
    """What was made, by the name it has in the drill: batch ids."""

    reviews: str
    summaries: str
    invoices: str


def break_things(sham: str, password: str) -> Broken:
    """Four projects with batches, three upstreams, and OPERATOR, who may do everything in the admin."""
    User.objects.filter(username=OPERATOR).delete()
    User.objects.create_superuser(OPERATOR, password=password)
    Upstream.objects.create(name="good", base_url=f"{sham}/good/v1", model_patterns="small", max_in_flight=16)
    Upstream.objects.create(name="hot", base_url=f"{sham}/hot/v1", model_patterns="hot-*", max_in_flight=32)
    Upstream.objects.create(name="gone", base_url=NOBODY, model_patterns="reviewer")
    until(_workers_know_them, seconds=60, what="no worker has heard of the upstreams: is one running?")
    invoices = _batch("Invoices", "small", 40)
    _break_by_hand(invoices)
    reviews, summaries = _batch("Reviews", "reviewer", 20), _batch("Summaries", "hot-summaries", SUMMARIES_LINES)
    crawler = [_batch("Crawler", "small", CRAWLER_LINES) for _ in range(CRAWLER_BATCHES)]
    for batch in (reviews, summaries, *crawler):
        tasks.start.delay(batch.pk)
    return Broken(reviews.pk, summaries.pk, invoices.pk)


def _workers_know_them() -> bool:
    """Before that they would send every line to the upstream of the environment."""
    reports = list(workers.alive().values_list("report", flat=True))
    return bool(reports) and all("gone" in report.get("upstreams", {}) for report in reports)


def _batch(project_name: str, model: str, lines: int) -> Batch:
    project, _ = Project.objects.get_or_create(name=project_name)
    key, _ = ApiKey.objects.create_for(project, "drill")
    with storage.Spool(f"{project_name.lower()}.jsonl") as spool:
        for number in range(1, lines + 1):
            body = {"model": model, "messages": [{"role": "user", "content": f"Is {number} even?"}]}
            line = {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            spool.write(json.dumps(line).encode() + b"\n")
        stored = uploads.store_upload(project, spool, None)
    return submit(BatchRequest(project, key, stored.pk, "/v1/chat/completions", {}, None))


def _break_by_hand(batch: Batch) -> None:
    """What an UPDATE in psql leaves behind that nobody thought through: running, by nobody, for ever."""
    Chunk.objects.filter(batch=batch).update(state=ChunkState.RUNNING, owner="psql", lease_expires_at=None, epoch=1)
