"""Keeps the leases of what this process runs, and tells the runs when to stop: one UPDATE every two seconds."""

import itertools
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from django.conf import settings
from django.db import connection

from apps.batches import codes, leases, quota, workers
from apps.batches.leases import Beat, Renewal
from apps.batches.models import Worker
from apps.batches.states import BatchStatus
from apps.inference.clock import lease_clock
from apps.inference.turns import Turn
from apps.observability.outage import Outage

# Why a run ends early: a code (codes.py) that its unsent lines get, or one of these, without a result: somebody else
# runs the chunk, or will.
LEASE_LOST = "lease_lost"
STOPPING = "worker_stopping"
YIELDED = "yielded"

LOOKS_PER_BEAT = 4
"""So often between two heartbeats a full process looks whether somebody waits for a place."""


class Running(Protocol):
    """A chunk on its way, as the heartbeat sees it."""

    def beat(self) -> Beat: ...

    def renewed(self, at: float) -> None:
        """Its lease holds for LEASE_SECONDS from `at`, seconds of `lease_clock`."""
        ...

    def halt(self, reason: str) -> None: ...

    @property
    def turn(self) -> Turn:
        """In whose name it sends."""
        ...

    @property
    def in_flight(self) -> int:
        """Lines that must be waited for if it is to end now."""
        ...

    @property
    def is_leaving(self) -> bool:
        """Its place will be free at once: it has been halted, and nothing is in flight."""
        ...


class Heartbeat:
    """The runs and assemblies of one process, and the thread that speaks for them.

    `each_beat` is called with every heartbeat, for whoever else wants to look at Postgres every two seconds, and
    `report` gives what its row shall say of this process, as JSON.
    """

    def __init__(self) -> None:
        self._runs: dict[int, Running] = {}
        self._assemblies: set[str] = set()
        self._worker: Worker | None = None
        self._most_runs: float = math.inf
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.each_beat: Callable[[], None] = lambda: None
        self.report: Callable[[], dict[str, Any]] = dict
        self._outage = Outage("heartbeats to Postgres")

    def announce(self, worker: Worker, most_runs: int) -> None:
        """From now on each heartbeat says that this process is there, also while it has nothing to do.

        `most_runs` is how many chunks it can have open: when it has, it makes way for projects that have none.
        """
        with self._lock:
            self._worker, self._most_runs = worker, most_runs
            self._ensure_thread()

    @contextmanager
    def keep(self, run: Running) -> Iterator[None]:
        """Renews the run's lease while the block lasts; halts the run when it must end, or need not even begin."""
        chunk_id = run.beat().chunk_id
        with self._lock:
            self._runs[chunk_id] = run
            self._ensure_thread()
        try:
            self._pulse([run])
            self._stop_spenders([run])
            if self._stopping:
                run.halt(STOPPING)
            connection.close()  # the lines may take hours, and no thread keeps a connection meanwhile
            yield
        finally:
            with self._lock:
                self._runs.pop(chunk_id, None)

    @contextmanager
    def keep_assembly(self, batch_id: str) -> Iterator[None]:
        """Renews the lease of the batch's assembly while the block lasts."""
        with self._lock:
            self._assemblies.add(batch_id)
            self._ensure_thread()
        try:
            yield
        finally:
            with self._lock:
                self._assemblies.discard(batch_id)

    def stop(self) -> None:
        """Halts every run, now and to come: the process is about to end."""
        self._stopping = True
        for run in self._current():
            run.halt(STOPPING)

    def tick(self) -> None:
        """One heartbeat: renews all leases and passes on what Postgres says of their batches."""
        if runs := self._current():
            self._pulse(runs)
        if assemblies := list(self._assemblies):
            leases.renew_assemblies(assemblies)
        if self._worker and not self._stopping:
            workers.seen(self._worker, self.report())
        self.each_beat()
        self._stop_spenders(runs)  # last: whatever it costs, leases are renewed by now

    def make_way(self) -> None:
        """Lets go of a chunk if this process is full while somebody has no chunk running anywhere.

        The project with the most open chunks gives. A chunk of a slow upstream may run for many minutes; nobody should
        wait for that. What the run has sent is in the journal, so nothing is sent twice.
        """
        runs = self._current()
        if len(runs) < self._most_runs or any(run.is_leaving for run in runs):
            return
        open_chunks = Counter(run.turn.project for run in runs)
        if not set(leases.starving_projects()) - set(open_chunks):
            return
        project, count = open_chunks.most_common(1)[0]
        if count > 1:
            _who_gives(runs, project).halt(YIELDED)

    def _pulse(self, runs: list[Running]) -> None:
        beats, asked_at = [run.beat() for run in runs], lease_clock()
        renewals = {renewal.chunk_id: renewal for renewal in leases.renew(beats)}
        for run, beat in zip(runs, beats, strict=True):
            renewal = renewals.get(beat.chunk_id)
            if renewal:
                run.renewed(asked_at)
            if reason := halt_reason(renewal):
                run.halt(reason)

    def _stop_spenders(self, runs: Sequence[Running]) -> None:
        """Halts the runs of projects whose token budget is spent."""
        broke = quota.used_up({run.turn.project for run in runs}) if runs else ()
        for run in runs:
            if run.turn.project in broke:
                run.halt(codes.QUOTA_USED_UP)

    def _current(self) -> list[Running]:
        with self._lock:
            return list(self._runs.values())

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        pause, looks = threading.Event(), itertools.count(1)
        while not pause.wait(settings.HEARTBEAT_SECONDS / LOOKS_PER_BEAT):
            try:
                if next(looks) % LOOKS_PER_BEAT == 0:
                    self.tick()
                    self._outage.worked()
                self.make_way()
            except Exception:
                # Postgres may be back in time for the next beat; if not, the runs pause when their leases are over.
                self._outage.failed()
            finally:
                connection.close()  # back to the pool between beats


def _who_gives(runs: Sequence[Running], project: str) -> Running:
    """The project's run with the fewest lines in flight, of these the last in turn."""
    own = (run for run in runs if run.turn.project == project)
    return min(sorted(own, key=lambda run: run.turn.order, reverse=True), key=lambda run: run.in_flight)


def halt_reason(renewal: Renewal | None) -> str | None:
    """Why a run must end, or None; a run without a renewal has lost its lease."""
    match renewal:
        case None:
            return LEASE_LOST
        case Renewal(status=BatchStatus.CANCELLING):
            return codes.CANCELLED
        case Renewal(overdue=True):
            return codes.EXPIRED
        case Renewal(key_revoked=True):
            return codes.KEY_REVOKED
    return None


heartbeat = Heartbeat()
"""The one of this process."""
