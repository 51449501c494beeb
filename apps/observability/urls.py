"""Paths of the health endpoints."""

from django.urls import path

from apps.observability import views

urlpatterns = [
    path("healthz", views.healthz),
    path("readyz", views.readyz),
]
