"""A Celery process's own small HTTP server, in a thread: /metrics for Prometheus, /healthz and /readyz for probes."""

import json
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from django.conf import settings
from django.db import connection

from apps.observability import metrics
from apps.observability.health import readiness

log = structlog.get_logger(__name__)

MOST_PORTS = 64
"""So many processes of one machine find a port each, from METRICS_PORT on."""

Response = tuple[str, str, bytes]
"""Status line, content type, body."""


class _Server(ThreadingMixIn, WSGIServer):
    """One thread for each request, so that a probe need not wait for a scrape; none of them keeps the process alive."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Without the base class's look-up of the host's name, which may take long where there is no DNS."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, *_: Any) -> None:
        """Probes come every few seconds."""


def start() -> int | None:
    """Serve on METRICS_HOST, on the first free port from METRICS_PORT on; the port, or None if that is 0 or none is.

    A process that cannot be looked at works on.
    """
    if not settings.METRICS_PORT:
        return None
    for port in range(settings.METRICS_PORT, settings.METRICS_PORT + MOST_PORTS):
        try:
            server = make_server(settings.METRICS_HOST, port, _answer, _Server, _Handler)
        except (OSError, OverflowError):
            continue
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        log.info("metrics served", host=settings.METRICS_HOST, port=port)
        return port
    log.warning("metrics not served", host=settings.METRICS_HOST, port=settings.METRICS_PORT)
    return None


def _answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    pages: dict[str, Callable[[dict[str, Any]], Response]] = {
        "/metrics": _metrics,
        "/healthz": lambda _: ("200 OK", "application/json", b'{"status": "ok"}'),
        "/readyz": _ready,
    }
    page = pages.get(environ.get("PATH_INFO", ""), _not_found)
    status, content_type, body = page(environ)
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


def _metrics(environ: dict[str, Any]) -> Response:
    if not settings.METRICS_TOKEN:
        return _not_found(environ)
    if not metrics.may_see(environ.get("HTTP_AUTHORIZATION", "")):
        return "401 Unauthorized", "text/plain", b"wrong token\n"
    return "200 OK", metrics.CONTENT_TYPE, metrics.of_worker()


def _ready(_: dict[str, Any]) -> Response:
    try:
        ready, report = readiness()
    finally:
        connection.close()  # this thread is about to end
    return "200 OK" if ready else "503 Service Unavailable", "application/json", json.dumps(report).encode()


def _not_found(_: dict[str, Any]) -> Response:
    return "404 Not Found", "text/plain", b"not found\n"
