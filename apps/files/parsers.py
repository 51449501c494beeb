"""Reads a multipart upload and refuses one that ends early."""

from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from django.utils.http import parse_header_parameters
from rest_framework.exceptions import ParseError
from rest_framework.parsers import MultiPartParser

if TYPE_CHECKING:
    from rest_framework.parsers import DataAndFiles

TAIL_BYTES = 4_096


class TailStream:
    """Passes reads through and remembers the last bytes that went by."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.tail = (self.tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        return data


class WholeMultiPartParser(MultiPartParser):
    """DRF's parser, but a body without its closing boundary is called that, and not a form without a file."""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> "DataAndFiles[Any, Any]":
        watched: Any = TailStream(stream)
        parsed = super().parse(watched, media_type, parser_context)
        if _closing_boundary(media_type or "") not in watched.tail:
            raise ParseError("it ends before its closing boundary")
        return parsed


def _closing_boundary(content_type: str) -> bytes:
    _, parameters = parse_header_parameters(content_type)
    return f"--{parameters.get('boundary', '')}--".encode("latin-1", "replace")
