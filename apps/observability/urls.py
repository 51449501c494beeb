"""Paths of the health endpoints and the metrics."""

from django.urls import path

from apps.observability import views

urlpatterns = [
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("metrics", views.metrics_page),
]
