"""The endpoints of /v1/webhook_endpoints and /v1/webhook_event_types (wire.md §9)."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.api import pagination
from apps.api.parsers import json_body
from apps.projects.authentication import project_of
from apps.webhooks import endpoints
from apps.webhooks.models import EventType, WebhookEndpoint
from apps.webhooks.serializers import (
    endpoint_json,
    parse_create,
    parse_event_type,
    parse_keep_old,
    parse_update,
    with_secret,
)

DEFAULT_ENDPOINTS, MOST_ENDPOINTS = 20, 100


class EndpointsView(APIView):
    def post(self, request: Request) -> Response:
        return Response(with_secret(*endpoints.create(project_of(request), parse_create(json_body(request)))))

    def get(self, request: Request) -> Response:
        query, project = request.query_params, project_of(request)
        limit = pagination.parse_limit(query.get("limit"), default=DEFAULT_ENDPOINTS, most=MOST_ENDPOINTS)
        after = endpoints.find(project, query["after"], param="after") if query.get("after") else None
        rows = WebhookEndpoint.objects.live().filter(project=project)
        found, has_more = pagination.page(rows, after=after, limit=limit)
        return Response(pagination.list_body([endpoint_json(row) for row in found], has_more=has_more))


class EndpointView(APIView):
    def get(self, request: Request, endpoint_id: str) -> Response:
        return Response(endpoint_json(endpoints.find(project_of(request), endpoint_id)))

    def post(self, request: Request, endpoint_id: str) -> Response:
        project = project_of(request)
        endpoints.update(endpoints.find(project, endpoint_id), parse_update(json_body(request)))
        return Response(endpoint_json(endpoints.find(project, endpoint_id)))

    def delete(self, request: Request, endpoint_id: str) -> Response:
        endpoints.delete(endpoints.find(project_of(request), endpoint_id))
        return Response({"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True})


class RotateSecretView(APIView):
    def post(self, request: Request, endpoint_id: str) -> Response:
        project = project_of(request)
        endpoint = endpoints.find(project, endpoint_id)
        secret = endpoints.rotate_secret(endpoint, keep_old=parse_keep_old(json_body(request, empty={})))
        return Response(with_secret(endpoints.find(project, endpoint_id), secret))


class TestView(APIView):
    def post(self, request: Request, endpoint_id: str) -> Response:
        endpoint = endpoints.find(project_of(request), endpoint_id)
        event_type = parse_event_type(json_body(request).get("event_type"))
        return Response(
            {
                "object": "webhook_endpoint.test",
                "webhook_endpoint_id": endpoint.id,
                "event_type": event_type.value,
                "status_code": endpoints.test(endpoint, event_type),
                "success": True,
            }
        )


class EventTypesView(APIView):
    def get(self, request: Request) -> Response:
        return Response({"object": "list", "data": EventType.values})
