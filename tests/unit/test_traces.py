"""Traces: off by default, at no cost, and one for each batch, whoever tells of it."""

import re
import sys
from typing import Any

import pytest

from apps.observability import traces
from apps.observability.checks import traces_can_be_sent


def test_without_a_collector_they_need_no_sdk_and_do_nothing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.OTEL_EXPORTER_OTLP_ENDPOINT == ""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with traces.span("chunk", "batch_1", lines=3) as span:
        span.set(completed=3)
        assert span.traceparent is None
    traces.told_afterwards("create", "batch_1", 0.0)
    assert traces_can_be_sent() == []


def test_a_collector_without_the_sdk_is_refused_at_start(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:4318"
    assert traces_can_be_sent() == []

    monkeypatch.setattr("apps.observability.checks.find_spec", lambda _: None)
    assert [error.id for error in traces_can_be_sent()] == ["zerobatch.E020"]


def test_every_process_finds_the_same_ids_for_a_batch() -> None:
    ids = traces.ids_of("batch_1")

    assert traces.ids_of("batch_1") == ids
    assert traces.ids_of("batch_2") != ids
    assert re.fullmatch("[0-9a-f]{32}", f"{ids.trace:032x}")
    assert re.fullmatch("[0-9a-f]{16}", f"{ids.span:016x}")
