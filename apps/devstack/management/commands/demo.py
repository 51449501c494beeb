"""`manage.py demo`: one batch from upload to answers, on a stack of its own."""

import os
import sys

from apps.devstack import packages
from apps.devstack.command import StackCommand
from apps.devstack.stopping import Stopped, stop_on_signals


class Command(StackCommand):
    help = "Start a stack, run examples/reviews.jsonl through it, show the answers and remove everything again."

    def work(self) -> None:
        stop_on_signals()
        packages.folder_of("rich", instead="talk to the API with curl")
        from apps.devstack import demo  # noqa: PLC0415  needs rich

        try:
            complete = demo.run(os.environ)
        except Stopped as stopped:
            sys.exit(128 + stopped.number)
        sys.exit(0 if complete else 1)
