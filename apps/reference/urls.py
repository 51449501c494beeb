"""Paths of the API reference."""

from django.urls import path

from apps.reference import views

app_name = "reference"

urlpatterns = [
    path("docs", views.reference, name="reference"),
    path("docs/openapi.json", views.openapi, name="openapi"),
    path("docs/example.jsonl", views.example, name="example"),
]
