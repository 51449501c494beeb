"""libcurl's multi handle on an event loop: transfers go in, and their ends come out."""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

import pycurl

from apps.inference.transport import KEEPALIVE_SECONDS
from apps.inference.watch import Watch

MOST_CONNECTIONS = 1 << 16  # kept open; libcurl's own limit follows the number of transfers, and would shut busy ones


class End(NamedTuple):
    """How a transfer ended: libcurl's error code, 0 if all is well, and its message."""

    code: int
    message: str


class Multi:
    """The transfers and the kept connections of one event loop. Made and used on that loop's thread."""

    def __init__(self, watch: type[Watch]) -> None:
        self._loop = asyncio.get_running_loop()
        self._transfers: dict[pycurl.Curl, asyncio.Future[End]] = {}
        self._make_watch = watch
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when libcurl wants to be woken, 0 for never; the timer may be set for earlier
        self._idle_since = 0.0
        self._letting_go: asyncio.TimerHandle | None = None
        self._open()

    def begin(self, easy: pycurl.Curl) -> asyncio.Future[End]:
        """Start one transfer; the future has its end. Who no longer wants to know must call `abandon`."""
        future: asyncio.Future[End] = self._loop.create_future()
        self._multi.add_handle(easy)
        self._transfers[easy] = future
        return future

    def abandon(self, easy: pycurl.Curl) -> None:
        """The connection of the transfer is closed and `easy` is free again; nothing happens if it has ended."""
        if easy in self._transfers:
            self._remove(easy)

    def close(self) -> None:
        """Close every connection. What is still under way ends as aborted."""
        for easy in list(self._transfers):
            self._end(easy, End(pycurl.E_ABORTED_BY_CALLBACK, "the transport was closed"))
        self._shut()
        for handle in (self._soon, self._timer, self._letting_go):
            if handle is not None:
                handle.cancel()

    def _open(self) -> None:
        self._watch = self._make_watch(self._loop, self._on_sockets)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch.want)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._wake_in)
        self._multi.setopt(pycurl.M_MAXCONNECTS, MOST_CONNECTIONS)

    def _shut(self) -> None:
        self._watch.close()  # before its sockets are
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, lambda *_: None)  # it may still say goodbye to some
        self._multi.close()

    # What libcurl asks of us. It must not be called back from in here.

    def _wake_in(self, milliseconds: int) -> None:
        if milliseconds == 0:
            self._soon = self._soon or self._loop.call_soon(self._on_soon)
        elif milliseconds < 0:
            self._due = 0.0
        else:
            self._due = self._loop.time() + milliseconds / 1000
            if self._timer is None or self._timer.when() > self._due:
                self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due, self._on_timer)

    # What the event loop tells us

    def _on_sockets(self, happened: Iterable[tuple[int, int]]) -> None:
        for fd, bits in happened:
            self._multi.socket_action(fd, bits)
        self._collect()

    def _on_soon(self) -> None:
        self._soon = None
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()

    def _on_timer(self) -> None:
        self._timer = None
        if self._due > self._loop.time():  # put off since the timer was set
            self._set_timer()
        elif self._due:
            self._on_soon()

    def _collect(self) -> None:
        _, done, failed = self._multi.info_read()
        for easy in done:
            self._end(easy, End(0, ""))
        for easy, code, message in failed:
            self._end(easy, End(code, message))

    def _end(self, easy: pycurl.Curl, end: End) -> None:
        future = self._transfers[easy]
        self._remove(easy)
        if not future.done():  # else it was cancelled in this turn of the loop
            future.set_result(end)

    def _remove(self, easy: pycurl.Curl) -> None:
        del self._transfers[easy]
        self._multi.remove_handle(easy)
        if not self._transfers:
            self._idle_since = self._loop.time()
            if self._letting_go is None:
                self._letting_go = self._loop.call_later(KEEPALIVE_SECONDS, self._let_go)

    def _let_go(self) -> None:
        """libcurl looks after kept connections when it is asked for one: nobody closes those of an idle process."""
        self._letting_go = None
        if self._transfers:
            return
        idle = self._loop.time() - self._idle_since
        if idle < KEEPALIVE_SECONDS:
            self._letting_go = self._loop.call_later(KEEPALIVE_SECONDS - idle, self._let_go)
        else:
            self._shut()
            self._open()
