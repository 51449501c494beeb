"""What the dashboard shows: one reading of everything, shared by all who look, bounded in what it may cost."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from django.db import DatabaseError
from redis import RedisError

from apps.api.pagination import counted
from apps.batches import figures, overview
from apps.batches.models import Chunk, Sweep
from apps.batches.overview import Fleet, UpstreamSeen
from apps.inference.standing import Standing
from apps.observability.health import check_dependencies
from apps.observability.looking import Kept, hasty
from apps.upstreams import catalogue
from apps.upstreams import models as stored
from apps.upstreams.models import KeyState

log = structlog.get_logger(__name__)

FRESH_SECONDS = 3.0
"""A reading serves everybody for so long: ten open dashboards cost as much as one."""
MOST_COUNTED = 100_000
"""A count ends here: beyond, nobody needs to know how many exactly."""
BAR_HEIGHT = 40


class UpstreamLine(NamedTuple):
    """One upstream: how it is set, and how the workers find it. `pk` is None for that of the environment."""

    pk: int | None
    name: str
    base_url: str
    max_in_flight: int
    state: str
    is_well: bool
    seen: UpstreamSeen

    @property
    def is_throttled(self) -> bool:
        """Slower than it might be, but it goes on."""
        return self.seen.is_throttled and self.seen.standing != Standing.UPSTREAM_PAUSED


class ProjectLine(NamedTuple):
    """One project with open batches: what it has of what runs, and what would be an even share, in percent."""

    share: overview.Share
    in_flight: int
    percent: int
    fair_percent: int

    @property
    def is_over(self) -> bool:
        """Half as much again as an even share, while others have open batches too."""
        return self.percent > 1.5 * self.fair_percent


class Bar(NamedTuple):
    """A minute of the rate's drawing: heights in its own units."""

    x: int
    completed: float
    failed: float
    label: str


@dataclass(frozen=True)
class Board:
    """One reading; `problem` says why there is none."""

    dependencies: dict[str, str]
    problem: str = ""
    batches: dict[str, int] | None = None
    chunks: dict[str, int] | None = None
    oldest_pending: float | None = None
    fleet: Fleet | None = None
    upstreams: Sequence[UpstreamLine] = ()
    projects: Sequence[ProjectLine] = ()
    sweeps: Sequence[Sweep] = ()
    queues: dict[str, int] | None = None
    broken: int = 0
    overdue: int = 0
    slow: int = 0
    seconds: float = 0

    @property
    def in_flight(self) -> int:
        """Requests at the upstreams, as of the workers' last heartbeats."""
        return sum(line.seen.in_flight for line in self.upstreams)

    @property
    def bars(self) -> list[Bar]:
        """Lines by minute, the oldest first."""
        minutes = self.fleet.by_minute if self.fleet else []
        most = max((counts.total() for counts in minutes), default=0) or 1
        bars = []
        for age, counts in enumerate(minutes):
            completed, failed = counts["completed"], counts.total() - counts["completed"]
            scale = BAR_HEIGHT / most
            label = f"{age} min ago: {completed:,} completed, {failed:,} failed"
            bars.append(Bar(12 * (len(minutes) - 1 - age), completed * scale, failed * scale, label))
        return bars[::-1]


def _read() -> Board:
    began = time.monotonic()
    dependencies = check_dependencies()
    if dependencies["postgres"] != "ok":
        return Board(dependencies, problem="Postgres does not answer.")
    try:
        with hasty():
            fleet = overview.fleet()
            upstreams = _upstreams(fleet)
            return Board(
                dependencies,
                batches=figures.batches().by_status,
                chunks=figures.chunks_by_state(),
                oldest_pending=figures.ages().oldest_pending,
                fleet=fleet,
                upstreams=upstreams,
                projects=_projects(fleet),
                sweeps=list(Sweep.objects.order_by("name")),
                queues=_queues() if dependencies["redis"] == "ok" else None,
                broken=counted(Chunk.objects.broken(), MOST_COUNTED),
                overdue=counted(overview.overdue_batches(), MOST_COUNTED),
                slow=counted(overview.slow_assemblies(), MOST_COUNTED),
                seconds=time.monotonic() - began,
            )
    except (DatabaseError, RedisError) as error:
        log.warning("dashboard not read", exc_info=True)
        return Board(dependencies, problem=f"The figures could not be read: {str(error).splitlines()[0]}")


read = Kept(_read, FRESH_SECONDS)
"""A reading of the last seconds. Raises nothing: what is away is what the dashboard is there to say."""


def _upstreams(fleet: Fleet) -> list[UpstreamLine]:
    found = list(stored.Upstream.objects.order_by("name"))
    if not found:
        one = catalogue.from_settings()
        return [UpstreamLine(None, one.name, one.base_url, one.max_in_flight, *_state(one.name, "", fleet))]
    return [
        UpstreamLine(row.pk, row.name, row.base_url, row.max_in_flight, *_state(row.name, _why_unused(row), fleet))
        for row in found
    ]


def _why_unused(row: stored.Upstream) -> str:
    if not row.enabled:
        return "paused here"
    return f"API key {KeyState.UNREADABLE}" if row.key_state is KeyState.UNREADABLE else ""


def _state(name: str, unused: str, fleet: Fleet) -> tuple[str, bool, UpstreamSeen]:
    seen = fleet.upstreams.get(name, UpstreamSeen(name))
    state = unused or (describe(seen) if fleet.alive else "unknown: no worker")
    return state, state == WELL, seen


WELL = "well"


def describe(seen: UpstreamSeen) -> str:
    """How the workers find an upstream, in words."""
    if seen.standing == Standing.UPSTREAM_PAUSED:
        return "away, probed until it is back"
    if seen.standing == Standing.UPSTREAM_BUSY and not seen.in_flight:
        return "busy, turns every line away"
    return f"throttles, takes {seen.limit} of {seen.share} at once" if seen.is_throttled else WELL


def _projects(fleet: Fleet) -> list[ProjectLine]:
    """Shares of the requests in flight; of the running chunks, while nothing is in flight."""
    found = overview.shares()
    held = {share.project_id: sum(seen.held[share.project_id] for seen in fleet.upstreams.values()) for share in found}
    weights = held if any(held.values()) else {share.project_id: share.running_chunks for share in found}
    total, fair = sum(weights.values()) or 1, round(100 / max(len(found), 1))
    return [
        ProjectLine(share, held[share.project_id], round(100 * weights[share.project_id] / total), fair)
        for share in found
    ]


def _queues() -> dict[str, int]:
    """Queue → messages that wait in it. `chunks` are all shards together."""
    depths = figures.queue_depths()
    chunks = sum(depth for name, depth in depths.items() if name.startswith("chunks."))
    others = {name: depth for name, depth in depths.items() if not name.startswith("chunks.")}
    return {**others, "chunks": chunks}
