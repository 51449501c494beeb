"""The web's processes: gunicorn's, but whoever stalls is cut off, and what is no request gets our envelope too."""

import json
import logging
import socket
import struct
import sys
from typing import Any

from gunicorn import util
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import TConn, ThreadWorker

from apps.api.errors import InternalError, InvalidRequest
from apps.api.ids import new_id
from zerobatch import env

CLIENT_TIMEOUT = env.number("WEB_CLIENT_TIMEOUT", 30, least=1)
CODES = {414: "uri_too_long", 431: "headers_too_large"}


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Each request occupies a thread from its first byte on, so a client may not keep one by saying nothing.

    gunicorn 27 reads and writes for as long as it takes. The kernel's limits, on each call that neither gets nor loses
    a byte, do not care that it sets its sockets to blocking.
    """

    def init_process(self) -> None:
        self.log.error_log.addFilter(_tell_of_stalled_clients)
        super().init_process()

    def load_wsgi(self) -> None:
        try:
            super().load_wsgi()
        except SystemExit as refused:
            print(refused, file=sys.stderr)  # noqa: T201  as Python would
            # With any other code gunicorn would start the next process, and the next, for ever.
            raise SystemExit(Arbiter.WORKER_BOOT_ERROR) from None

    def handle(self, conn: TConn) -> Any:
        if not conn.initialized:
            limit = struct.pack("ll", CLIENT_TIMEOUT, 0)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        return super().handle(conn)


def _tell_of_stalled_clients(record: logging.LogRecord) -> bool:
    """Anybody can stall: that is no error of ours, and worth no traceback."""
    if record.exc_info and isinstance(record.exc_info[1], BlockingIOError):
        record.msg, record.args, record.exc_info = "client cut off: it sent or took nothing for too long", (), None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def write_error(sock: socket.socket, status_int: int, reason: str, mesg: str) -> None:
    """The answer to what gunicorn does not hand on, such as a request line above its limit, as JSON (wire.md §2)."""
    message = f"{reason}: {mesg}" if mesg else reason
    error = InvalidRequest(message, code=CODES.get(status_int)) if status_int < 500 else InternalError()
    body = json.dumps(error.body()).encode()
    head = (
        f"HTTP/1.1 {status_int} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"x-request-id: {new_id('req_')}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + body)


util.write_error = write_error  # gunicorn has no setting for it
