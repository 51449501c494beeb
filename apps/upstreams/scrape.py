"""What a worker tells Prometheus of its upstreams: read from the meters and the pool while lines go on."""

from collections.abc import Iterator

from apps.inference.endpoint import Endpoint
from apps.inference.meter import BOUNDS, meters, nobody
from apps.inference.standing import Standing
from apps.observability import metrics
from apps.observability.metrics import Metric
from apps.upstreams import live


def upstreams() -> Iterator[Metric]:
    """A source of apps.observability.metrics."""
    known = dict(meters)
    every = {**known, metrics.NO_UPSTREAM: nobody}.items()
    yield metrics.LINES.of({(name, outcome): n for name, meter in every for outcome, n in meter.lines().items()})
    yield metrics.ATTEMPTS.of({(name, what): n for name, meter in known.items() for what, n in meter.attempts.items()})
    yield metrics.UPSTREAM_SECONDS.of_buckets(
        {name: (BOUNDS, list(meter.counts), meter.seconds) for name, meter in known.items()}
    )
    endpoints = live.endpoints()
    yield metrics.IN_FLIGHT.of({endpoint.name: endpoint.in_flight for endpoint in endpoints})
    yield metrics.LIMIT.of({endpoint.name: endpoint.limit for endpoint in endpoints})
    yield metrics.UPSTREAM_UP.of({endpoint.name: float(_is_up(endpoint)) for endpoint in endpoints})


def _is_up(endpoint: Endpoint) -> bool:
    return endpoint.standing is not Standing.UPSTREAM_PAUSED
