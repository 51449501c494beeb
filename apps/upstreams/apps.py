"""Django's entry for the upstreams."""

from django.apps import AppConfig


class UpstreamsConfig(AppConfig):
    name = "apps.upstreams"

    def ready(self) -> None:
        from apps.observability import metrics  # noqa: PLC0415
        from apps.upstreams import checks, scrape  # noqa: F401, PLC0415  registering a check is importing it

        metrics.worker_sources.append(scrape.upstreams)
