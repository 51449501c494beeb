"""The five endpoints of /v1/files (wire.md §4), and the four of /v1/uploads (wire.md §5)."""

from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.api import pagination
from apps.api.parsers import json_body
from apps.files import in_parts, storage, uploads
from apps.files.downloads import download
from apps.files.models import File, Purpose
from apps.files.parsers import WholeMultiPartParser
from apps.files.serializers import (
    file_json,
    parse_begin,
    parse_complete,
    parse_part,
    parse_upload,
    part_json,
    upload_json,
)
from apps.files.upload_handlers import PartUploadHandler
from apps.idempotency.once import Once
from apps.projects.authentication import project_of

MOST_FILES = 10_000


class FilesView(APIView):
    parser_classes = (WholeMultiPartParser,)

    def post(self, request: Request) -> Response:
        project = project_of(request)
        with Once(project, request.headers.get("idempotency-key")) as once:
            spool, expires_after = parse_upload(request)
            content = storage.digest(spool) if once.key else ""
            if earlier := once.earlier(request.path, spool.name, expires_after, content):
                return Response(file_json(uploads.find_live(project, earlier)))
            return Response(file_json(uploads.store_upload(project, spool, expires_after, once.remember)))

    def get(self, request: Request) -> Response:
        query, project = request.query_params, project_of(request)
        limit = pagination.parse_limit(query.get("limit"), default=MOST_FILES, most=MOST_FILES)
        order = pagination.parse_order(query.get("order"))
        rows = File.objects.live().filter(project=project)
        if purpose := query.get("purpose"):
            rows = rows.filter(purpose=purpose) if purpose in Purpose.values else rows.none()
        after = uploads.find_cursor(project, query.get("after"))
        found, has_more = pagination.page(rows, after=after, limit=limit, order=order)
        return Response(pagination.list_body([file_json(row) for row in found], has_more=has_more))


class FileView(APIView):
    def get(self, request: Request, file_id: str) -> Response:
        return Response(file_json(uploads.find_live(project_of(request), file_id)))

    def delete(self, request: Request, file_id: str) -> Response:
        stored = uploads.find_live(project_of(request), file_id)
        uploads.delete(stored)
        return Response({"id": stored.id, "object": "file", "deleted": True})


class FileContentView(APIView):
    def get(self, request: Request, file_id: str) -> HttpResponseBase:
        stored = uploads.find_live(project_of(request), file_id)
        return download(stored, request.headers.get("range"))


class UploadsView(APIView):
    def post(self, request: Request) -> Response:
        project = project_of(request)
        with Once(project, request.headers.get("idempotency-key")) as once:
            data = json_body(request)
            if earlier := once.earlier(request.path, data):
                return Response(upload_json(in_parts.find(project, earlier)))
            return Response(upload_json(in_parts.begin(project, *parse_begin(data), once.remember)))


class PartsView(APIView):
    parser_classes = (WholeMultiPartParser,)

    def post(self, request: Request, upload_id: str) -> Response:
        # Before the body is read: a part that nobody takes is not received either.
        upload = in_parts.find_open(project_of(request), upload_id)
        request._request.upload_handlers = [PartUploadHandler(request._request)]
        return Response(part_json(in_parts.add(upload, parse_part(request))))


class CompleteView(APIView):
    def post(self, request: Request, upload_id: str) -> Response:
        upload = in_parts.find_open(project_of(request), upload_id)
        return Response(upload_json(in_parts.complete(upload, *parse_complete(json_body(request)))))


class CancelUploadView(APIView):
    def post(self, request: Request, upload_id: str) -> Response:
        return Response(upload_json(in_parts.cancel(in_parts.find(project_of(request), upload_id))))
