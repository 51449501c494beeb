"""Paths of the webhooks endpoints."""

from django.urls import path

from apps.webhooks import views

urlpatterns = [
    path("webhook_endpoints", views.EndpointsView.as_view()),
    path("webhook_endpoints/<str:endpoint_id>", views.EndpointView.as_view()),
    path("webhook_endpoints/<str:endpoint_id>/rotate_secret", views.RotateSecretView.as_view()),
    path("webhook_endpoints/<str:endpoint_id>/test", views.TestView.as_view()),
    path("webhook_event_types", views.EventTypesView.as_view()),
]
