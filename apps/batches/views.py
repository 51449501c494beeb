"""The endpoints of /v1/batches (wire.md §6–7)."""

from typing import Any

from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.api import pagination
from apps.api.parsers import json_body
from apps.batches import downloads, lifecycle, tasks
from apps.batches.models import Batch
from apps.batches.pipeline.retry import retry
from apps.batches.pipeline.submit import refusal, submit
from apps.batches.serializers import batch_json, batches_json, parse_create, parse_kind, parse_retry
from apps.batches.states import BatchStatus
from apps.idempotency.once import Once
from apps.projects.authentication import project_of

DEFAULT_BATCHES, MOST_BATCHES = 20, 100


class BatchesView(APIView):
    def post(self, request: Request) -> Response:
        key: Any = request.auth
        with Once(key.project, request.headers.get("idempotency-key")) as once:
            data = json_body(request)
            if earlier := once.earlier(request.path, data):
                return Response(batch_json(_accepted(lifecycle.find(key.project, earlier))))
            batch = submit(parse_create(data, key.project, api_key=key, remember=once.remember))
        tasks.begin(batch.pk)
        return Response(batch_json(batch))

    def get(self, request: Request) -> Response:
        query, project = request.query_params, project_of(request)
        limit = pagination.parse_limit(query.get("limit"), default=DEFAULT_BATCHES, most=MOST_BATCHES, clamp_below=True)
        after = lifecycle.find(project, query["after"], param="after") if query.get("after") else None
        found, has_more = pagination.page(Batch.objects.filter(project=project), after=after, limit=limit)
        return Response(pagination.list_body(batches_json(found), has_more=has_more))


class BatchView(APIView):
    def get(self, request: Request, batch_id: str) -> Response:
        return Response(batch_json(lifecycle.find(project_of(request), batch_id)))


class CancelView(APIView):
    def post(self, request: Request, batch_id: str) -> Response:
        project = project_of(request)
        batch = lifecycle.find(project, batch_id)
        tasks.cancel(batch)
        return Response(batch_json(lifecycle.find(project, batch_id)))


class RetryView(APIView):
    def post(self, request: Request, batch_id: str) -> Response:
        key: Any = request.auth
        with Once(key.project, request.headers.get("idempotency-key")) as once:
            found, data = lifecycle.find(key.project, batch_id), json_body(request, empty={})
            if earlier := once.earlier(request.path, data):
                return Response(batch_json(_accepted(lifecycle.find(key.project, earlier))))
            batch = retry(parse_retry(data, found, api_key=key, remember=once.remember))
        tasks.begin(batch.pk)
        return Response(batch_json(batch))


class OutputView(APIView):
    def get(self, request: Request, batch_id: str) -> HttpResponseBase:
        batch = lifecycle.find(project_of(request), batch_id)
        kind = parse_kind(request.query_params.get("kind"))
        return downloads.results(batch, kind, request.headers.get("range"))


def _accepted(batch: Batch) -> Batch:
    """The batch; raises what its creation raised if its input was rejected."""
    if batch.status == BatchStatus.FAILED:
        raise refusal(batch)
    return batch
