"""What traces need is refused at start if it is missing, not at the first batch."""

from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register
def traces_can_be_sent(**_: Any) -> list[CheckMessage]:
    """zerobatch.E020: OTEL_EXPORTER_OTLP_ENDPOINT is set, but the SDK is not installed."""
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT or find_spec("opentelemetry"):
        return []
    hint = "Install requirements-traces.txt, or unset OTEL_EXPORTER_OTLP_ENDPOINT."
    return [Error("OpenTelemetry is not installed", hint=hint, id="zerobatch.E020")]
