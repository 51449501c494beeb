"""Paths of the files endpoints."""

from django.urls import path

from apps.files import views

urlpatterns = [
    path("files", views.FilesView.as_view()),
    path("files/<str:file_id>", views.FileView.as_view()),
    path("files/<str:file_id>/content", views.FileContentView.as_view()),
]
