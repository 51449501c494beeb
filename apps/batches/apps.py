"""Django's entry for the batches."""

from django.apps import AppConfig


class BatchesConfig(AppConfig):
    name = "apps.batches"

    def ready(self) -> None:
        from apps.batches import scrape  # noqa: PLC0415  models are not there yet when this module is imported
        from apps.observability import metrics  # noqa: PLC0415

        metrics.web_sources.append(scrape.installation)
