"""The seam over libcurl, which costs a fraction of what aiohttp does (docs/adr/0006)."""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from functools import lru_cache

import pycurl

from apps.inference.errors import BrokenAnswer, NoAnswer, TransportError, UpstreamAway
from apps.inference.multi import End, Multi
from apps.inference.transport import KEEPALIVE_SECONDS, PROBE_SECONDS, Answer, connect_limit, reason
from apps.inference.watch import BEST_WATCH, Watch

STALE_SECONDS = 0.2
RECEIVE_BYTES = 128 << 10
SUPPRESS_CONNECT_HEADERS = 265  # CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl does not name

# What an error means once the request was on its way.
_MEANINGS = {
    pycurl.E_UNSUPPORTED_PROTOCOL: "answer is not HTTP",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "answer is not HTTP",
    pycurl.E_PARTIAL_FILE: "answer cut short or garbled",
    pycurl.E_BAD_CONTENT_ENCODING: "answer cut short or garbled",
    pycurl.E_WRITE_ERROR: "answer cut short or garbled",
    pycurl.E_GOT_NOTHING: "connection lost",
    pycurl.E_RECV_ERROR: "connection lost",
    pycurl.E_SEND_ERROR: "connection lost",
    pycurl.E_SEND_FAIL_REWIND: "connection lost",
}


class CurlTransport:
    """libcurl's multi interface with a pool of easy handles: most options are set once, a few for each request."""

    def __init__(
        self,
        connect_timeout: float = 10.0,
        read_timeout: float = 600.0,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        watch: type[Watch] = BEST_WATCH,
    ) -> None:
        self._connect_timeout = connect_limit(connect_timeout, read_timeout)
        self._read_timeout = read_timeout
        self._probe_timeout = min(connect_timeout, PROBE_SECONDS)
        self._options = _options(proxy, ca_file)
        self._idle: list[_Post] = []
        self._multi: Multi | None = None
        self._watch = watch

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        post = self._idle.pop() if self._idle else self._new_post()
        try:
            post.prepare(url, headers, body)
            end = await self._perform(post)
            if end.code:
                raise _failure(post.easy, end, self._connect_timeout, self._read_timeout)
            return post.answer()
        except (pycurl.error, ValueError, TypeError) as error:
            raise BrokenAnswer(f"request failed: {reason(str(error))}") from error
        finally:
            post.forget()
            self._idle.append(post)

    async def probe(self, url: str, headers: Mapping[str, str]) -> None:
        easy = _easy(self._options, self._probe_timeout, self._probe_timeout)
        easy.setopt(pycurl.FORBID_REUSE, 1)
        # -1 breaks off after the head: a list of models can be long, and says nothing here.
        easy.setopt(pycurl.HEADERFUNCTION, lambda line: None if line.strip() else -1)
        try:
            easy.setopt(pycurl.URL, url.encode())
            easy.setopt(pycurl.HTTPHEADER, _header_lines(headers))
            end = await self._transfer(easy)
            if end.code and not (end.code == pycurl.E_WRITE_ERROR and easy.getinfo(pycurl.RESPONSE_CODE)):
                raise _failure(easy, end, self._probe_timeout, self._probe_timeout)
        except (pycurl.error, ValueError, TypeError) as error:
            raise BrokenAnswer(f"request failed: {reason(str(error))}") from error
        finally:
            easy.close()

    async def close(self) -> None:
        multi, self._multi = self._multi, None
        if multi is not None:
            multi.close()

    async def _perform(self, post: "_Post") -> End:
        end = await self._transfer(post.easy)
        if end.code != pycurl.E_SEND_FAIL_REWIND or post.easy.getinfo(pycurl.TOTAL_TIME) > STALE_SECONDS:
            return end
        # The kept connection broke at once and without a byte: the server had closed it before the request came.
        # libcurl looks for that only when the last look is a second ago. Others may have gone too, so take a new one.
        post.rewind()
        post.easy.setopt(pycurl.FRESH_CONNECT, 1)
        try:
            return await self._transfer(post.easy)
        finally:
            post.easy.setopt(pycurl.FRESH_CONNECT, 0)

    async def _transfer(self, easy: pycurl.Curl) -> End:
        multi = self._multi or self._open()
        future = multi.begin(easy)
        try:
            return await future
        except asyncio.CancelledError:
            multi.abandon(easy)
            raise

    def _open(self) -> Multi:
        """Made on first use, because it belongs to the loop that is running when it is made."""
        self._multi = Multi(self._watch)
        return self._multi

    def _new_post(self) -> "_Post":
        return _Post(_easy(self._options, self._connect_timeout, self._read_timeout))


class _Post:
    """An easy handle that posts, time after time, and what it has received."""

    def __init__(self, easy: pycurl.Curl) -> None:
        self.easy = easy
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._request = b""
        self._sent = 0
        self._url = ""
        easy.setopt(pycurl.POST, 1)
        easy.setopt(pycurl.HEADERFUNCTION, self._head.append)
        easy.setopt(pycurl.WRITEFUNCTION, self._body.append)
        # With POSTFIELDS libcurl would send it again by itself, up to five times, whenever a kept connection breaks
        # before an answer. What it has read it cannot rewind: the transfer ends with E_SEND_FAIL_REWIND.
        easy.setopt(pycurl.READFUNCTION, self._read)

    def prepare(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        if url != self._url:
            self.easy.setopt(pycurl.URL, url.encode())
            self._url = url
        self.easy.setopt(pycurl.HTTPHEADER, _header_lines(headers))
        self.easy.setopt(pycurl.POSTFIELDSIZE_LARGE, len(body))
        self._request, self._sent = body, 0

    def rewind(self) -> None:
        self._sent = 0

    def _read(self, size: int) -> bytes:
        start, self._sent = self._sent, self._sent + size
        return self._request[start : self._sent]

    def answer(self) -> Answer:
        # An upstream that hangs up in mid-head has answered, by libcurl's lights.
        if b"\r\n" not in self._head and b"\n" not in self._head:
            raise BrokenAnswer("answer cut short or garbled: its head has no end")
        status = self.easy.getinfo(pycurl.RESPONSE_CODE)
        return Answer(status, Headers(b"".join(self._head)), b"".join(self._body))

    def forget(self) -> None:
        """Let go of a request and its answer, which may be large."""
        self._head.clear()
        self._body.clear()
        self._request = b""


class Headers(Mapping[str, str]):
    """A head as it came, parsed when a header is looked up: in most answers that is one, or none."""

    def __init__(self, head: bytes) -> None:
        self._head = head

    def __getitem__(self, name: str) -> str:
        head, key = self._final(), b"\n" + name.lower().encode() + b":"
        start = head.lower().find(key)
        if start < 0:
            raise KeyError(name)
        value_start = start + len(key)
        return head[value_start : head.find(b"\n", value_start)].strip().decode(errors="surrogateescape")

    def __iter__(self) -> Iterator[str]:
        lines = self._final().decode(errors="surrogateescape").split("\n")[1:]
        return iter({line.partition(":")[0].lower() for line in lines if line.strip()})

    def __len__(self) -> int:
        return len(set(self))

    def _final(self) -> bytes:
        """Without what came before: `100 Continue`, or a proxy's answer to CONNECT."""
        return self._head[self._head.rfind(b"\nHTTP/") + 1 :]


def _options(proxy: str | None, ca_file: str | None) -> list[tuple[int, object]]:
    """What is the same for every request. Redirects, cookies and `.netrc` are off unless asked for."""
    trust: list[tuple[int, object]] = []
    # The wheel's libcurl looks for certificates where Red Hat keeps them: tell it where this system's OpenSSL does.
    system = ssl.get_default_verify_paths()
    if ca_file or system.cafile:
        trust.append((pycurl.CAINFO, ca_file or system.cafile))
    if system.capath and not ca_file:
        trust.append((pycurl.CAPATH, system.capath))
    return [
        (pycurl.NOSIGNAL, 1),
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        (pycurl.DEFAULT_PROTOCOL, "none"),  # it would guess http for `gpu:8000`
        (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
        (pycurl.TCP_NODELAY, 1),
        (pycurl.MAXAGE_CONN, KEEPALIVE_SECONDS),
        (pycurl.ACCEPT_ENCODING, "gzip, deflate"),
        (pycurl.BUFFERSIZE, RECEIVE_BYTES),
        (pycurl.PROXY, proxy or ""),  # empty, it does not look at the environment
        (pycurl.NOPROXY, ""),
        (SUPPRESS_CONNECT_HEADERS, 1),
        *trust,
    ]


def _easy(options: list[tuple[int, object]], connect_timeout: float, read_timeout: float) -> pycurl.Curl:
    easy = pycurl.Curl()
    for option, value in options:
        easy.setopt(option, value)
    easy.setopt(pycurl.CONNECTTIMEOUT_MS, _milliseconds(connect_timeout))
    easy.setopt(pycurl.TIMEOUT_MS, _milliseconds(read_timeout))
    return easy


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # 0 would mean for ever


def _header_lines(headers: Mapping[str, str]) -> list[bytes]:
    """ValueError for a header that would end its line."""
    return [*map(_header_line, headers.items()), b"Expect:"]  # with nothing in it, libcurl does not ask before it sends


@lru_cache(256)
def _header_line(header: tuple[str, str]) -> bytes:
    """Kept, because all but one are the same in every request."""
    name, value = header
    line = f"{name}: {value}" if value else f"{name};"  # the semicolon is how libcurl is told of an empty header
    if "\r" in line or "\n" in line or "\0" in line:
        raise ValueError("a header holds a line break")
    return line.encode()


def _failure(easy: pycurl.Curl, end: End, connect_timeout: float, read_timeout: float) -> TransportError:
    was_sent = easy.getinfo(pycurl.REQUEST_SIZE) > 0  # a CONNECT to a proxy does not count
    said = reason(end.message) or f"libcurl error {end.code}"
    if end.code == pycurl.E_OPERATION_TIMEDOUT:
        if was_sent:
            return NoAnswer(f"no answer within {read_timeout:g} s")
        return UpstreamAway(f"cannot connect to the upstream within {connect_timeout:g} s")
    if was_sent:
        return BrokenAnswer(f"{_MEANINGS.get(end.code, 'request failed')}: {said}")
    if end.code in (pycurl.E_URL_MALFORMAT, pycurl.E_UNSUPPORTED_PROTOCOL):
        return UpstreamAway(f"not a usable upstream URL: {said}")
    return UpstreamAway(f"cannot connect to the upstream: {said}")
