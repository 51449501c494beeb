"""Mends, before Django reads them, the two request headers that it takes too literally."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.utils.http import parse_header_parameters

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

UNPARSABLE = "application/octet-stream"
ENDLESS = str(2**40)


def forgiving(application: "WSGIApplication") -> "WSGIApplication":
    """The same application, but a strange Content-Type is no crash and a chunked body is not empty.

    Both happen while Django builds the request, outside all middleware: a client would get a 500 without our envelope.
    """

    def serve(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        if "CONTENT_TYPE" in environ:
            environ["CONTENT_TYPE"] = _without_charset(environ["CONTENT_TYPE"])
        # Django reads Content-Length bytes, none without one; gunicorn ends the stream where the last chunk ends.
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower() and environ.get("wsgi.input_terminated"):
            environ["CONTENT_LENGTH"] = ENDLESS
        return application(environ, start_response)

    return serve


def _without_charset(content_type: str) -> str:
    """The wire is UTF-8; Django would decode even the query string with whatever codec a client names."""
    try:
        kind, parameters = parse_header_parameters(content_type)
    except (LookupError, ValueError):
        return UNPARSABLE
    if "charset" not in parameters:
        return content_type
    boundary = parameters.get("boundary")
    return f'{kind}; boundary="{boundary}"' if boundary else kind
