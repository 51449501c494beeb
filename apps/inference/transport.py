"""The narrow seam to the HTTP client: bytes out, bytes back, and only our own errors in between."""

import io
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import aiohttp

from apps.inference.errors import BrokenAnswer, NoAnswer, TransportError, UpstreamAway

# uvicorn, and so vLLM, drops idle connections after 5 s: let go before it does, or requests race its close.
KEEPALIVE_SECONDS = 4.0
LARGE_BODY_BYTES = 1 << 20
PROBE_SECONDS = 5.0

# First match wins: aiohttp's errors inherit from each other and from the built-in ones.
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[TransportError], str], ...] = (
    ((aiohttp.ClientConnectorError, aiohttp.ServerFingerprintMismatch), UpstreamAway, "cannot connect to the upstream"),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), UpstreamAway, "not a usable upstream URL"),
    ((aiohttp.ClientPayloadError,), BrokenAnswer, "answer cut short or garbled"),
    ((aiohttp.ClientResponseError,), BrokenAnswer, "answer is not HTTP"),
    ((aiohttp.ClientConnectionError,), BrokenAnswer, "connection lost"),
)


class Answer(NamedTuple):
    """A whole HTTP answer. `headers` look up case-insensitively; `body` is already decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """An HTTP client of one event loop. Whoever passes the transport tests may replace aiohttp."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST `body`. Raises `UpstreamAway`, `NoAnswer`, `BrokenAnswer` or `CancelledError`, and nothing else."""
        ...

    async def probe(self, url: str, headers: Mapping[str, str]) -> None:
        """GET `url`, and return on any HTTP answer at all. Raises a `TransportError` or `CancelledError` if none came.

        It takes a few seconds at most, however long a line may take.
        """
        ...

    async def close(self) -> None:
        """Close every connection. The transport opens anew if it is used again."""
        ...


class AiohttpTransport:
    """One aiohttp session for the life of the process: kept connections, no redirects, no cookies, no proxies.

    Timeouts are in seconds; `read_timeout` is for the whole answer. `*_PROXY` variables are not read: with `trust_env`
    aiohttp consults the environment and `.netrc` in a worker thread on every single request.
    """

    def __init__(self, connect_timeout: float = 10.0, read_timeout: float = 600.0) -> None:
        # A connect must give up well before the whole call does, or a dead host would pass for a slow one.
        connect = min(connect_timeout, read_timeout / 2)
        self._timeout = aiohttp.ClientTimeout(total=read_timeout, connect=connect)
        self._probe_timeout = aiohttp.ClientTimeout(total=min(connect_timeout, PROBE_SECONDS))
        self._session: aiohttp.ClientSession | None = None

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        # aiohttp writes bytes in one piece and warns when they are many; a stream is written piece by piece.
        data = body if len(body) <= LARGE_BODY_BYTES else io.BytesIO(body)
        session = self._session or self._open()
        try:
            async with session.post(url, headers=headers, data=data, allow_redirects=False) as response:
                return Answer(response.status, response.headers, await response.read())
        except Exception as error:  # uvloop and aiohttp also let RuntimeError, ValueError and more through
            raise _translate(error, self._timeout) from error

    async def probe(self, url: str, headers: Mapping[str, str]) -> None:
        session = self._session or self._open()
        limit = self._probe_timeout
        try:
            async with session.get(url, headers=headers, allow_redirects=False, timeout=limit):
                pass  # the body is not read: a list of models can be long, and says nothing here
        except Exception as error:
            raise _translate(error, limit) from error

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        """Made on first use, because a session belongs to the loop that is running when it is made."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
        )
        return self._session


def _translate(error: Exception, limit: aiohttp.ClientTimeout) -> TransportError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamAway(f"cannot connect to the upstream within {limit.connect or limit.total:g} s")
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientOSError):
        return NoAnswer(f"no answer within {limit.total:g} s")
    for library_errors, ours, meaning in _MEANINGS:
        if isinstance(error, library_errors):
            return ours(f"{meaning}: {_reason(error)}")
    return BrokenAnswer(f"request failed: {_reason(error)}")


def _reason(error: Exception) -> str:
    """The first line of what the library says, short; some of its messages quote whole answers."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
