"""Every metric there is, declared once: name, help, labels. Nobody else imports prometheus_client.

No label takes values without bound: no ids, model names or projects. Either its values are listed here, or they are
names that an operator gave (`upstream`).

Two sorts. *Counted* ones are prometheus_client's own objects, for what happens a few times a second. *Read* ones are
asked for when somebody looks (`Family`), from plain numbers that the hot path adds up, or from Postgres and Redis.
"""

import hmac
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any

from django.conf import settings
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

__all__ = ["Metric"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "zerobatch_"

Label = tuple[str, ...] | None
"""The values that a label can have; None for the name of an upstream."""
UPSTREAM: Label = None
NO_UPSTREAM = "(none)"
"""The `upstream` of lines that never went to one; no upstream can have this name."""


class Undeclared(LookupError):
    """A metric that this module does not declare, or a label or value that its declaration does not have."""


declared: dict[str, tuple[str, dict[str, Label]]] = {}
"""Name as Prometheus knows it → its help and its labels."""
_counted = CollectorRegistry()


def _declare(name: str, text: str, labels: dict[str, Label]) -> str:
    declared[name] = text, labels
    return PREFIX + name.removesuffix("_total")


class Counted:
    """A counter of prometheus_client that knows its labels' values, and shows each with 0 from the start."""

    def __init__(self, name: str, text: str, **labels: Label) -> None:
        self._counter = Counter(_declare(name, text, labels), text, list(labels), registry=_counted)
        self._children = {
            values: self._counter.labels(*values)
            for values in itertools.product(*(values or () for values in labels.values()))
        }

    def add(self, *values: str, number: float = 1) -> None:
        """`values` are those of the labels, in order; raises Undeclared for any that was not declared."""
        if (child := self._children.get(values)) is None:
            raise Undeclared(f"{self._counter} has no labels {values}")
        child.inc(number)


class Timed:
    """A histogram of seconds of prometheus_client; a combination of labels is shown once it has occurred."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], **labels: Label) -> None:
        self._labels = labels
        self._histogram = Histogram(
            _declare(name, text, labels), text, list(labels), registry=_counted, buckets=tuple(bounds)
        )

    def observe(self, *values: str, seconds: float) -> None:
        if not all(value in (known or ()) for value, known in zip(values, self._labels.values(), strict=True)):
            raise Undeclared(f"{self._histogram} has no labels {values}")
        self._histogram.labels(*values).observe(seconds)


class Family:
    """A metric whose values are asked for when somebody looks."""

    def __init__(self, kind: Any, name: str, text: str, **labels: Label) -> None:
        self._kind = kind
        self._name, self._text, self._labels = _declare(name, text, labels), text, labels

    def of(self, values: Mapping[Any, float]) -> Metric:
        """With a value for each combination of labels: a text for one label, a tuple for several, () for none."""
        family = self._kind(self._name, self._text, labels=list(self._labels))
        for key, value in values.items():
            family.add_metric(self._checked(key), value)
        found: Metric = family
        return found

    def of_buckets(self, values: Mapping[str, tuple[Sequence[float], Sequence[int], float]]) -> Metric:
        """A histogram: its label's value → bounds, how many lie between each two (one more than bounds), their sum."""
        family = HistogramMetricFamily(self._name, self._text, labels=list(self._labels))
        for key, (bounds, counts, total) in values.items():
            names = [*(str(float(bound)) for bound in bounds), "+Inf"]
            buckets = list(zip(names, itertools.accumulate(map(float, counts)), strict=True))
            family.add_metric(self._checked(key), buckets, total)
        return family

    def _checked(self, key: Any) -> tuple[str, ...]:
        values: tuple[str, ...] = (key,) if isinstance(key, str) else key
        if len(values) != len(self._labels):
            raise Undeclared(f"{self._name} has the labels {list(self._labels)}")
        for value, known in zip(values, self._labels.values(), strict=True):
            if known is not None and value not in known:
                raise Undeclared(f"{self._name} has no label value {value!r}")
        return values


def _gauge(name: str, text: str, **labels: Label) -> Family:
    return Family(GaugeMetricFamily, name, text, **labels)


def _counter(name: str, text: str, **labels: Label) -> Family:
    return Family(CounterMetricFamily, name, text, **labels)


# --- Lines and upstreams: read from each worker and control process --------------------------------------------------
LINES = _counter(
    "lines_total",
    "Lines with a result, as this process saw them. Those that a killed worker had not passed on are counted again.",
    upstream=UPSTREAM,
    outcome=("completed", "failed", "unsent"),
)
ATTEMPTS = _counter(
    "upstream_attempts_total",
    "Requests to an upstream: completed and failed end a line, retried and timeout use one of its attempts, "
    "busy (429, 503) and away (no connection) use none.",
    upstream=UPSTREAM,
    outcome=("completed", "failed", "retried", "busy", "away", "timeout"),
)
UPSTREAM_SECONDS = Family(
    HistogramMetricFamily,
    "upstream_seconds",
    "Time from sending a line to its whole answer, of answers that were not busy.",
    upstream=UPSTREAM,
)
IN_FLIGHT = _gauge("upstream_in_flight", "Slots that lines of this process hold at the upstream.", upstream=UPSTREAM)
LIMIT = _gauge(
    "upstream_limit",
    "Slots that this process may use now: its share of max_in_flight, or less while the upstream is busy.",
    upstream=UPSTREAM,
)
UPSTREAM_UP = _gauge(
    "upstream_up", "0 while this process pauses the upstream: it is away, or disabled.", upstream=UPSTREAM
)

# --- The pipeline: counted by whoever does it ------------------------------------------------------------------------
CHUNK_RUNS = Counted(
    "chunk_runs_total",
    "Runs of a chunk that have ended: committed, released for somebody else to go on, or failed or lost.",
    outcome=("done", "released", "nothing"),
)
JOURNAL_FLUSHES = Counted(
    "journal_flushes_total", "Writes of finished lines to the journal in Redis.", outcome=("written", "failed")
)
BATCHES_MOVED = Counted(
    "batches_moved_total",
    "Batches that reached a status.",
    status=("in_progress", "failed", "finalizing", "completed", "expired", "cancelling", "cancelled"),
)
LIMIT_REFUSALS = Counted(
    "limit_refusals_total",
    "Requests that were refused because a limit of their project was used up.",
    limit=(
        *("requests_per_minute", "enqueued_lines", "batches_in_progress", "stored_bytes"),
        *("tokens", "tokens_this_month"),
    ),
)
SWEEP_RUNS = Counted(
    "sweep_runs_total",
    "Runs of a sweep that have ended.",
    sweep=(
        "resume",
        "expire",
        "purge_batches",
        "purge_files",
        "deliver_webhooks",
        "purge_webhooks",
        "purge_idempotency",
    ),
    outcome=("ok", "failed"),
)
SWEEP_FOUND = Counted(
    "sweep_found_total",
    "What sweeps have found: chunks whose lease ran out, chunks without a message, batches to assemble, batches past "
    "their deadline or cancelling, things to remove.",
    found=("expired_leases", "unsent_chunks", "unassembled_batches", "overdue_batches", "removable"),
)

WEBHOOK_ATTEMPTS = Counted(
    "webhook_attempts_total",
    "Attempts to deliver an event: answered 2xx, answered otherwise, or not answered.",
    outcome=("delivered", "refused", "unanswered"),
)

# --- The API: counted by the web processes together ------------------------------------------------------------------
METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "other")
HTTP_SECONDS = Timed(
    "http_request_seconds",
    "Time until the answer to a request began.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
    method=METHODS,
    status=("1xx", "2xx", "3xx", "4xx", "5xx"),
)

# --- The whole installation: asked by the web process of Postgres and Redis ------------------------------------------
SOURCE_UP = _gauge(
    "source_up",
    "0 while the figures from there are missing because it did not answer.",
    source=("postgres", "redis"),
)
BATCHES = _gauge(
    "batches",
    "Batches that have not ended; more than 50,000 are not told apart from so many.",
    status=("validating", "in_progress", "finalizing", "cancelling"),
)
CHUNKS = _gauge(
    "chunks", "Chunks that are not done. More than 50,000 pending ones are an estimate.", state=("pending", "running")
)
OLDEST_PENDING = _gauge("oldest_pending_seconds", "Age of the oldest batch that has a pending chunk; 0 if none has.")
DEADLINE_MARGIN = _gauge(
    "deadline_margin_seconds", "Until the next deadline of an unfinished batch, negative once passed; none: no batch."
)
FINALIZING = _gauge("finalizing_seconds", "How long the batch that is finalizing for longest has been; 0 if none is.")
WORKERS = _gauge("workers", "Processes that take chunks and have written to Postgres in the last 30 s.")
QUEUES = ("control", "sweeps", "webhooks", *(f"chunks.{shard}" for shard in range(settings.CHUNK_QUEUES)))
QUEUE_DEPTH = _gauge("queue_depth", "Messages that wait in Redis.", queue=QUEUES)

Source = Callable[[], Iterable[Metric]]
worker_sources: list[Source] = []
"""What a worker, control or sweeps process tells beside what it has counted."""
web_sources: list[Source] = []


def sweep(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Counts the runs of a sweep."""

    def counted(run: Callable[[], None]) -> Callable[[], None]:
        @wraps(run)
        def run_and_count() -> None:
            try:
                run()
            except BaseException:
                SWEEP_RUNS.add(name, "failed")
                raise
            SWEEP_RUNS.add(name, "ok")

        return run_and_count

    return counted


class _Sources:
    """Sources as prometheus_client wants them. What is not declared is our mistake, and raises."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        known = {PREFIX + name for name in declared}
        for source in self._sources:
            for family in source():
                if not {family.name, f"{family.name}_total"} & known:
                    raise Undeclared(family.name)
                yield family


def of_worker() -> bytes:
    """What `/metrics` of a Celery process says."""
    registry = CollectorRegistry()
    registry.register(_Sources([_counted.collect, *worker_sources]))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def of_web() -> bytes:
    """What `/metrics` of the web says: the requests of all its processes, and the whole installation.

    Whichever process answers, it is the same: under gunicorn they count into files of PROMETHEUS_MULTIPROC_DIR.
    """
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(_Sources(web_sources))
    else:
        registry.register(_Sources([_counted.collect, *web_sources]))
    return generate_latest(registry)


def may_see(authorization: str) -> bool:
    """Whether a request with this `Authorization` header may see metrics; without METRICS_TOKEN nobody may."""
    wanted = f"Bearer {settings.METRICS_TOKEN}".encode()
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(authorization.encode(), wanted)
