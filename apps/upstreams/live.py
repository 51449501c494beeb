"""The upstreams as this process uses them: a pool on its event loop, which follows the rows."""

import threading
from collections.abc import Callable
from functools import cache
from uuid import uuid4

from django.conf import settings

from apps.inference.aiohttp_transport import AiohttpTransport
from apps.inference.blocks import SlotBlocks
from apps.inference.client import Client
from apps.inference.curl import CurlTransport
from apps.inference.endpoint import Endpoint, Glance
from apps.inference.loop import shared_loop
from apps.inference.pool import Pool
from apps.inference.transport import Transport
from apps.inference.upstream import Upstream
from apps.upstreams.watch import Watch

TRANSPORTS: dict[str, Callable[[float, float], Transport]] = {"curl": CurlTransport, "aiohttp": AiohttpTransport}
"""What `INFERENCE_TRANSPORT` names; all pass the same tests."""


@cache
def client() -> Client:
    """The client of this process; it lives as long as the process. For the event loop's thread."""
    return Client(Pool(_endpoint, _shares()))


def endpoints() -> list[Endpoint]:
    """The upstreams, to look at from any thread; none while this process has no client, and asking makes none."""
    return client().pool.endpoints if client.cache_info().currsize else []


class Follower:
    """Has the pool do as the rows say. From any thread but the event loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watch = Watch()
        self._knows = False

    def follow(self) -> None:
        """At first before a run begins, then with every heartbeat; while Postgres is away the pool goes on as it is."""
        with self._lock:
            self._look()

    def ensure(self) -> None:
        """Looks if nobody has yet. Raises RuntimeError if in vain: a pool without upstreams would fail every line."""
        with self._lock:
            if not self._knows:
                self._look()
            if not self._knows:
                raise RuntimeError("the upstreams are not known yet")

    @property
    def glances(self) -> dict[str, Glance]:
        """Name → what this process sees of the upstream; empty before it knows any. From any thread."""
        return {endpoint.name: endpoint.glance for endpoint in client().pool.endpoints} if self._knows else {}

    def _look(self) -> None:
        upstreams = self._watch.look()
        if upstreams is None:
            return
        try:
            shared_loop().run(_configure(upstreams))
        except BaseException:
            self._watch = Watch()  # what it found is not in use: find it again
            raise
        self._knows = True


follower = Follower()
"""The one of this process."""


def close() -> None:
    """Gives this process' slots back, once nothing is in flight any more."""
    if _shares.cache_info().currsize:
        shared_loop().run(_shares().close())


async def _configure(upstreams: list[Upstream]) -> None:
    client().pool.configure(upstreams)


@cache
def _shares() -> SlotBlocks:
    blocks = SlotBlocks(settings.REDIS_URL, uuid4().hex)
    blocks.start()
    return blocks


def _endpoint(upstream: Upstream, on_room: Callable[[Endpoint], object]) -> Endpoint:
    transport = TRANSPORTS[settings.INFERENCE_TRANSPORT]
    return Endpoint(upstream, transport(upstream.connect_timeout, upstream.read_timeout), on_room=on_room)
