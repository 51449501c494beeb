"""Paths of the batches endpoints."""

from django.urls import path

from apps.batches import views

urlpatterns = [
    path("batches", views.BatchesView.as_view()),
    path("batches/<str:batch_id>", views.BatchView.as_view()),
    path("batches/<str:batch_id>/cancel", views.CancelView.as_view()),
]
