"""The seam over aiohttp: the baseline that libcurl is measured against (docs/adr/0006)."""

import io
import ssl
from collections.abc import Mapping

import aiohttp

from apps.inference.errors import BrokenAnswer, NoAnswer, TransportError, UpstreamAway
from apps.inference.transport import KEEPALIVE_SECONDS, PROBE_SECONDS, Answer, connect_limit, reason

LARGE_BODY_BYTES = 1 << 20

# First match wins: aiohttp's errors inherit from each other and from the built-in ones.
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[TransportError], str], ...] = (
    (
        (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.ServerFingerprintMismatch),
        UpstreamAway,
        "cannot connect to the upstream",
    ),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), UpstreamAway, "not a usable upstream URL"),
    ((aiohttp.ClientPayloadError,), BrokenAnswer, "answer cut short or garbled"),
    ((aiohttp.ClientResponseError,), BrokenAnswer, "answer is not HTTP"),
    ((aiohttp.ClientConnectionError,), BrokenAnswer, "connection lost"),
)


class AiohttpTransport:
    """One aiohttp session, with its connections, for the life of the process.

    `trust_env` is off: with it aiohttp consults the environment and `.netrc` in a worker thread on every request.
    """

    def __init__(
        self,
        connect_timeout: float = 10.0,
        read_timeout: float = 600.0,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        connect = connect_limit(connect_timeout, read_timeout)
        self._timeout = aiohttp.ClientTimeout(total=read_timeout, connect=connect)
        self._probe_timeout = aiohttp.ClientTimeout(total=min(connect_timeout, PROBE_SECONDS))
        self._proxy = proxy
        self._trust = ssl.create_default_context(cafile=ca_file)
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
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ssl=self._trust),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            proxy=self._proxy,
        )
        return self._session


def _translate(error: Exception, limit: aiohttp.ClientTimeout) -> TransportError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamAway(f"cannot connect to the upstream within {limit.connect or limit.total:g} s")
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientOSError):
        return NoAnswer(f"no answer within {limit.total:g} s")
    said = reason(str(error)) or type(error).__name__
    for library_errors, ours, meaning in _MEANINGS:
        if isinstance(error, library_errors):
            return ours(f"{meaning}: {said}")
    return BrokenAnswer(f"request failed: {said}")
