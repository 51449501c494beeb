"""Mends, before Django reads them, the request headers that it takes too literally, or from anybody."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.http import parse_header_parameters

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

UNPARSABLE = "application/octet-stream"
ENDLESS = str(2**40)
FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_", "HTTP_X_REAL_IP")


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


def believing(application: "WSGIApplication", proxies: Sequence[IPv4Network | IPv6Network]) -> "WSGIApplication":
    """The same application, but only what comes from `proxies` may say on whose behalf, and what the client spoke.

    Everybody else's `Forwarded`, `X-Forwarded-…` and `X-Real-IP` are dropped, and so is `PROXY_SSL_HEADER`, whatever
    its name: it would make Django take a plain request for one by TLS.
    """

    def serve(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        if not _is_in(environ.get("REMOTE_ADDR", ""), proxies):
            for name in [name for name in environ if name.startswith(FORWARDED) or name == _ssl_header()]:
                del environ[name]
        return application(environ, start_response)

    return serve


def _is_in(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        peer = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(peer, IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    return any(peer in network for network in networks)


def _ssl_header() -> str:
    header: tuple[str, str] | None = settings.SECURE_PROXY_SSL_HEADER
    return header[0] if header else ""


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
