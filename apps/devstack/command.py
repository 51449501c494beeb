"""What the two commands that own processes have in common."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apps.devstack.child import tie_to_parent
from apps.devstack.errors import DevstackError


class StackCommand(BaseCommand):
    """Runs `work`; a DevstackError becomes one line and exit code 1."""

    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--die-with-parent", action="store_true", help="stop when the process that started this ends"
        )

    def handle(self, *_: Any, die_with_parent: bool, **__: Any) -> None:
        if die_with_parent:
            tie_to_parent()
        try:
            self.work()
        except DevstackError as error:
            self.stderr.write(f"{type(self).__module__.rpartition('.')[2]}: {error}")
            sys.exit(1)

    def work(self) -> None:
        raise NotImplementedError
