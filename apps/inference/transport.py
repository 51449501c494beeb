"""The narrow seam to the HTTP client: bytes out, bytes back, and only our own errors in between."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

# uvicorn, and so vLLM, drops idle connections after 5 s: let go before it does, or requests race its close.
KEEPALIVE_SECONDS = 4
PROBE_SECONDS = 5.0


class Answer(NamedTuple):
    """A whole HTTP answer. `headers` look up case-insensitively; `body` is already decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """An HTTP client of one event loop. Whoever passes the transport tests may be one.

    Each is made with `connect_timeout` and `read_timeout` in seconds, the latter for the whole answer; `proxy`, a URL
    through which everything goes; and `ca_file`, the only certificates to trust, instead of the system's. The
    environment (`HTTPS_PROXY`, `.netrc`) is not read. No redirect is followed and no cookie kept. A request that the
    upstream may have worked on is not sent again from in here: attempts are counted above.
    """

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


def connect_limit(connect_timeout: float, read_timeout: float) -> float:
    """A connect must give up well before the whole call does, or a dead host would pass for a slow one."""
    return min(connect_timeout, read_timeout / 2)


def reason(text: str) -> str:
    """The first line of what a library says, short; some of their messages quote whole answers."""
    lines = text.strip().splitlines()
    return lines[0][:200] if lines else ""
