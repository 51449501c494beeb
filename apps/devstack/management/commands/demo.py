"""`manage.py demo`: one batch from upload to answers, on a stack of its own."""

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apps.devstack import packages
from apps.devstack.child import tie_to_parent
from apps.devstack.errors import DevstackError
from apps.devstack.stopping import Stopped, stop_on_signals


class Command(BaseCommand):
    help = "Start a stack, run examples/reviews.jsonl through it, show the answers and remove everything again."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--die-with-parent", action="store_true", help="stop when the process that started this ends"
        )

    def handle(self, *_: Any, die_with_parent: bool, **__: Any) -> None:
        if die_with_parent:
            tie_to_parent()
        stop_on_signals()
        try:
            packages.folder_of("rich", instead="talk to the API with curl")
            from apps.devstack import demo  # noqa: PLC0415  needs rich

            complete = demo.run(os.environ)
        except DevstackError as error:
            self.stderr.write(f"demo: {error}")
            sys.exit(1)
        except Stopped as stopped:
            sys.exit(128 + stopped.number)
        sys.exit(0 if complete else 1)
