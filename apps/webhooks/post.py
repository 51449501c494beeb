"""Sends one request to one address, and reads no more of the answer, for no longer, than we want to know."""

import socket
import ssl
from contextlib import suppress
from functools import cache
from threading import Lock, Timer
from types import TracebackType
from typing import Any, NamedTuple

import requests
import urllib3
from requests.adapters import HTTPAdapter

from apps.webhooks.addresses import Target

CONNECT_SECONDS = 5.0
"""Twice: for the connection, then for TLS."""
TOTAL_SECONDS = 15.0
MOST_BODY_BYTES = 2_048
MOST_EXCERPT_CHARACTERS = 300


class Unanswered(Exception):
    """There was no answer; the message says why, to the endpoint's owner."""


class Answer(NamedTuple):
    """`excerpt` is the beginning of the body on one line, to be shown to people."""

    status: int
    retry_after: str | None
    excerpt: str


def post(url: str, target: Target, body: str, headers: dict[str, str]) -> Answer:
    """POSTs to `target`, whatever a parser might take the URL's host for. Follows no redirect. Raises Unanswered.

    Through the adapter and not a Session: even when told not to follow, that one reads a redirect's whole body, and
    takes proxies and passwords from the environment.
    """
    own = {"Host": target.authority, "User-Agent": "ZeroBatch", "Accept-Encoding": "identity"}
    with _Deadline(TOTAL_SECONDS) as deadline, _PinnedAdapter(target, deadline) as adapter:
        try:
            sent = requests.Request("POST", url, headers={**headers, **own}, data=body.encode()).prepare()
            with adapter.send(sent, stream=True, timeout=(CONNECT_SECONDS, TOTAL_SECONDS)) as answer:
                content = answer.raw.read(MOST_BODY_BYTES, decode_content=False) or b""
        except Exception as error:
            if deadline.is_over:
                raise Unanswered(f"no whole answer within {TOTAL_SECONDS:g} s") from None
            if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError | OSError | ValueError):
                raise Unanswered(_reason(error)) from None
            raise
    if deadline.is_over:  # cut off in mid-body, which looks like its end
        raise Unanswered(f"no whole answer within {TOTAL_SECONDS:g} s")
    return Answer(answer.status_code, answer.headers.get("Retry-After"), excerpt_of(content))


def excerpt_of(content: bytes) -> str:
    """Printable, on one line, short."""
    words = content.decode(errors="replace").split()
    return "".join(character for character in " ".join(words) if character.isprintable())[:MOST_EXCERPT_CHARACTERS]


class _Deadline:
    """Shuts the connection down when the time is over. A socket's time-out is for each read: who drips has for ever."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._connection: socket.socket | None = None
        self._lock = Lock()
        self._timer = Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "_Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: TracebackType | type[BaseException] | BaseException | None) -> None:
        self._timer.cancel()

    def watch(self, connection: socket.socket) -> None:
        """From now on it is this one that is shut down. Raises TimeoutError if it is too late already."""
        with self._lock:
            if self.is_over:
                raise TimeoutError
            self._connection = connection

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            if self._connection is not None:
                _shut(self._connection)


def _shut(connection: socket.socket) -> None:
    """Whoever reads from it reads its end. Not by SSLSocket's own method, which takes the TLS away under the reader."""
    with suppress(OSError):  # it has ended by itself
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _PinnedAdapter(HTTPAdapter):
    """Connects to the target's address; TLS asks for the target's name and checks the certificate against it."""

    def __init__(self, target: Target, deadline: _Deadline) -> None:
        super().__init__()
        self._target = target
        self._deadline = deadline

    def __enter__(self) -> "_PinnedAdapter":
        return self

    def __exit__(self, *_: TracebackType | type[BaseException] | BaseException | None) -> None:
        self.close()

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        to = self._target
        tls = {"ssl_context": _trust(), "server_hostname": to.host} if to.scheme == "https" else {}
        return {"scheme": to.scheme, "host": to.address, "port": to.port}, tls

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _watched(pool.ConnectionCls, self._deadline)
        return pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context of `_trust` does; requests would load its own bundle into it, again for each connection."""


def _watched(kind: Any, deadline: _Deadline) -> Any:
    class Watched(kind):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            deadline.watch(self.sock)

    return Watched


@cache
def _trust() -> ssl.SSLContext:
    """The system's certificates, as the workers trust upstreams; `SSL_CERT_FILE` may name others."""
    return ssl.create_default_context()


def _reason(error: Exception) -> str:
    """What went wrong, in words that show neither addresses nor our insides."""
    if isinstance(error, requests.exceptions.SSLError):
        return "TLS failed: the certificate must be valid for the URL's host"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:g} s"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
        return f"no whole answer within {TOTAL_SECONDS:g} s"
    if "NewConnectionError" in repr(error):
        return "the connection was refused, or the host cannot be reached"
    return "the connection broke, or the answer was not HTTP"
