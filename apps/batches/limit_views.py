"""The endpoints of /v1/limits and /v1/usage (wire.md §10)."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.api import pagination
from apps.batches import usage
from apps.batches.limit_serializers import limits_json, parse_days, usage_json
from apps.batches.standing import standings
from apps.projects.authentication import project_of

MOST_PAGES = 10_000


class LimitsView(APIView):
    def get(self, request: Request) -> Response:
        return Response(limits_json(standings(project_of(request))))


class UsageView(APIView):
    def get(self, request: Request) -> Response:
        query = request.query_params
        limit = pagination.parse_limit(query.get("limit"), default=MOST_PAGES, most=MOST_PAGES)
        first, last = parse_days(query.get("start_date"), query.get("end_date"))
        pages = list(usage.by_day(project_of(request), first, last)[: limit + 1])
        data = [usage_json(page) for page in pages[:limit]]
        return Response({"object": "list", "data": data, "has_more": len(pages) > limit})
