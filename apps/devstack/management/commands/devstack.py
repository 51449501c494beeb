"""`manage.py devstack`: everything ZeroBatch needs, in one terminal."""

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apps.devstack import stack
from apps.devstack.child import tie_to_parent
from apps.devstack.errors import DevstackError


class Command(BaseCommand):
    help = "Run the API, its workers and whatever service the environment does not name, until Ctrl-C."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--die-with-parent", action="store_true", help="stop when the process that started this ends"
        )

    def handle(self, *_: Any, die_with_parent: bool, **__: Any) -> None:
        if die_with_parent:
            tie_to_parent()
        try:
            stack.run(os.environ)
        except DevstackError as error:
            self.stderr.write(f"devstack: {error}")
            sys.exit(1)
