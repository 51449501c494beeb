"""Flower, behind a password: `manage.py flower`."""

from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tornado.options import options

COLUMNS = "name,args,state,received,started,runtime,worker"


class Command(BaseCommand):
    requires_system_checks = "__all__"
    help = (
        "Serves Flower at FLOWER_HOST:FLOWER_PORT, to look at: what changes something is in the admin, and asks first."
    )

    def handle(self, *_: Any, **__: Any) -> None:
        user, password = settings.FLOWER_USER, settings.FLOWER_PASSWORD
        if not password:
            raise CommandError("FLOWER_PASSWORD is not set. Set it, or leave the Procfile's line `flower` out.")
        import flower.command  # noqa: F401, PLC0415  defines the options that are set here

        # Flower tells the broker's kind by its URL; what our transport adds is for workers.
        current_app.conf.broker_transport = None
        # As options, not as arguments, which everybody on the machine could read.
        options.basic_auth = [f"{user}:{password}"]
        arguments = [f"--address={settings.FLOWER_HOST}", f"--port={settings.FLOWER_PORT}", "--read_only=True"]
        current_app.start(["flower", *arguments, f"--tasks_columns={COLUMNS}"])
