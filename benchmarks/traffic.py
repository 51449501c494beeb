"""Requests as a plain HTTP client sends them, which costs little beside what is measured."""

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

BLOCK_BYTES = 256 * 1024


class Target(NamedTuple):
    """Something that can be asked for, and the key or the token that opens it."""

    url: str
    api_key: str = ""
    token: str = ""

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60, blocksize=BLOCK_BYTES)

    @property
    def path(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    @property
    def headers(self) -> dict[str, str]:
        if self.token:
            return {"authorization": f"Bearer {self.token}"}
        return {"x-api-key": self.api_key} if self.api_key else {}


def get(connection: http.client.HTTPConnection, target: Target) -> float:
    """Seconds until the whole answer is here. Raises ValueError if it is not a 200."""
    start = time.perf_counter()
    connection.request("GET", target.path, headers=target.headers)
    response = connection.getresponse()
    _drain(response)
    seconds = time.perf_counter() - start
    _check(response, target)
    return seconds


def rate(targets: list[Target], *, at_once: int, seconds: float) -> float:
    """Answers per second when `at_once` connections ask for the targets in turn."""
    end = time.perf_counter() + seconds
    with ThreadPoolExecutor(at_once) as pool:
        counts = pool.map(lambda first: _ask_until(end, targets[first:] + targets[:first]), range(at_once))
        return sum(counts) / seconds


def _ask_until(end: float, targets: list[Target]) -> int:
    connection, count = targets[0].connect(), 0
    while time.perf_counter() < end:
        get(connection, targets[count % len(targets)])
        count += 1
    connection.close()
    return count


def download(target: Target) -> float:
    """Seconds until all bytes are here, on a new connection."""
    connection = target.connect()
    try:
        return get(connection, target)
    finally:
        connection.close()


def upload(method: str, target: Target, body: Path, content_type: str) -> tuple[float, bytes]:
    """Seconds from the first byte sent until the answer to it is here, on a new connection; and the answer."""
    connection = target.connect()
    headers = {**target.headers, "content-type": content_type, "content-length": str(body.stat().st_size)}
    with body.open("rb") as content:
        start = time.perf_counter()
        connection.request(method, target.path, body=content, headers=headers)
        response = connection.getresponse()
        answer = response.read()
        seconds = time.perf_counter() - start
    connection.close()
    _check(response, target)
    return seconds, answer


def _drain(response: http.client.HTTPResponse) -> None:
    buffer = bytearray(BLOCK_BYTES)
    while response.readinto(buffer):
        pass


def _check(response: http.client.HTTPResponse, target: Target) -> None:
    if response.status != http.HTTPStatus.OK:
        raise ValueError(f"{target.url} answered {response.status}")
