"""/metrics: who may see it, that nothing undeclared is told, and what a batch that ran leaves there."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from django import test
from django.db import OperationalError
from prometheus_client.parser import text_string_to_metric_families

from apps.batches import figures, scrape
from apps.inference import meter
from apps.observability import metrics, server
from apps.observability.looking import Kept
from apps.upstreams.scrape import upstreams
from tests.conftest import Person
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask, new_batch, run_batch

TOKEN = "Bearer a-token"


@pytest.fixture
def _token(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one, and nothing that an earlier test has asked Postgres is kept."""
    settings.METRICS_TOKEN = "a-token"
    monkeypatch.setattr(metrics, "web_sources", [Kept(scrape._ask, figures.KEPT_SECONDS)])


@pytest.fixture
def _new_meters() -> Iterator[None]:
    """No upstream has been asked yet."""
    before = dict(meter.meters)
    meter.meters.clear()
    yield
    meter.meters.update(before)


def values(page: bytes) -> dict[frozenset[str], float]:
    """(name, label values …) → value; names without the prefix, values in any order."""
    return {
        frozenset((sample.name.removeprefix(metrics.PREFIX), *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def of(*names: str) -> frozenset[str]:
    return frozenset(names)


@pytest.mark.django_db
def test_without_a_token_there_is_no_such_page(client: test.Client) -> None:
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", HTTP_AUTHORIZATION="Bearer ").status_code == 404


@pytest.mark.django_db
@pytest.mark.usefixtures("_token")
@pytest.mark.parametrize("header", ["", "Bearer a-toke", "Bearer ä-token", "Basic a-token"])
def test_nobody_sees_it_without_the_token(client: test.Client, header: str) -> None:
    response = client.get("/metrics", HTTP_AUTHORIZATION=header)

    assert response.status_code == 401
    assert b"zerobatch_" not in response.content


@pytest.mark.usefixtures("_token")
def test_a_key_of_a_project_is_no_token(alice: Person) -> None:
    assert alice.client.get("/metrics").status_code == 401
    assert alice.client.get("/metrics", HTTP_AUTHORIZATION=f"Bearer {alice.secret}").status_code == 401


@pytest.mark.usefixtures("_token")
def test_the_web_tells_of_the_whole_installation(alice: Person, client: test.Client) -> None:
    new_batch(alice, [ask("echo")])

    told = values(client.get("/metrics", HTTP_AUTHORIZATION=TOKEN).content)

    assert told[of("batches", "in_progress")] == 1
    assert told[of("chunks", "pending")] == 1
    assert told[of("source_up", "postgres")] == told[of("source_up", "redis")] == 1
    assert 86_300 < told[of("deadline_margin_seconds")] <= 86_400


@pytest.mark.django_db
@pytest.mark.usefixtures("_token")
def test_with_postgres_away_the_rest_is_told(client: test.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OperationalError("no route to host")

    monkeypatch.setattr(figures, "batches", away)

    told = values(client.get("/metrics", HTTP_AUTHORIZATION=TOKEN).content)

    assert told[of("source_up", "postgres")] == 0
    assert of("queue_depth", "control") in told
    assert of("chunks", "pending") not in told


def test_postgres_is_asked_once_in_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    kept = Kept(lambda: asked.append(1), figures.KEPT_SECONDS)

    kept()
    kept()
    assert len(asked) == 1

    monkeypatch.setattr(kept, "_good_until", 0.0)
    kept()
    assert len(asked) == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_new_meters")
def test_lines_are_counted_by_upstream_and_outcome(alice: Person, upstream: FakeUpstream) -> None:
    models = ["echo", "echo", "status-400", "flaky-1", "busy-1"]
    batch = run_batch(new_batch(alice, [ask(model, str(number)) for number, model in enumerate(models)]))

    told = values(metrics.of_worker())

    assert (batch.completed, batch.failed) == (4, 1)
    assert told[of("lines_total", "default", "completed")] == 4
    assert told[of("lines_total", "default", "failed")] == 1
    assert told[of("lines_total", "default", "unsent")] == 0
    assert (told[of("upstream_in_flight", "default")], told[of("upstream_up", "default")]) == (0, 1)
    attempts = {
        what: told[of("upstream_attempts_total", "default", what)]
        for what in ("completed", "failed", "retried", "busy")
    }
    assert attempts == {"completed": 4, "failed": 1, "retried": 1, "busy": 1}
    assert sum(attempts.values()) == upstream.request_count
    assert told[of("upstream_seconds_count", "default")] == upstream.request_count - attempts["busy"]


def test_what_is_not_declared_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(metrics.Undeclared):
        metrics.CHUNK_RUNS.add("exploded")
    with pytest.raises(metrics.Undeclared):
        metrics.LINES.of({("default", "exploded"): 1})
    with pytest.raises(metrics.Undeclared):
        metrics.LINES.of({"default": 1})
    with pytest.raises(metrics.Undeclared):
        metrics.HTTP_SECONDS.observe("GET", "9xx", seconds=1)

    stray = metrics.Metric(f"{metrics.PREFIX}stray", "Nobody declared it.", "gauge")
    monkeypatch.setattr(metrics, "worker_sources", [lambda: [stray]])
    with pytest.raises(metrics.Undeclared):
        metrics.of_worker()


@pytest.mark.django_db
def test_every_declared_metric_is_told_by_the_web_or_a_worker() -> None:
    told = {family.name for source in (metrics._counted.collect, upstreams, scrape.installation) for family in source()}

    assert {metrics.PREFIX + name.removesuffix("_total") for name in metrics.declared} == told


@pytest.mark.usefixtures("_token")
def test_a_worker_answers_prometheus_and_probes(settings: Any, transactional_db: None) -> None:
    settings.METRICS_PORT = 21_500
    ports = [server.start(), server.start()]
    assert None not in ports
    assert ports[0] != ports[1], "two processes of one machine find a port each"
    url = f"http://127.0.0.1:{ports[0]}"

    assert requests.get(f"{url}/healthz", timeout=10).json() == {"status": "ok"}
    ready = requests.get(f"{url}/readyz", timeout=10)
    assert (ready.status_code, ready.json()["dependencies"]["postgres"]) == (200, "ok")
    assert requests.get(f"{url}/metrics", timeout=10).status_code == 401
    told = values(requests.get(f"{url}/metrics", headers={"Authorization": TOKEN}, timeout=10).content)
    assert of("process_resident_memory_bytes") in told
    assert requests.get(f"{url}/else", timeout=10).status_code == 404


def test_a_worker_without_a_port_serves_nothing(settings: Any) -> None:
    settings.METRICS_PORT = 0
    assert server.start() is None
