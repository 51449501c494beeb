"""Paths of the batches endpoints."""

from django.urls import path

from apps.batches import limit_views, views

urlpatterns = [
    path("batches", views.BatchesView.as_view()),
    path("batches/<str:batch_id>", views.BatchView.as_view()),
    path("batches/<str:batch_id>/cancel", views.CancelView.as_view()),
    path("batches/<str:batch_id>/retry", views.RetryView.as_view()),
    path("batches/<str:batch_id>/output", views.OutputView.as_view()),
    path("limits", limit_views.LimitsView.as_view()),
    path("usage", limit_views.UsageView.as_view()),
]
