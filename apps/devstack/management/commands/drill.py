"""`manage.py drill`: a broken stack for operators to practise on."""

import os
import sys

from apps.devstack import operators_drill
from apps.devstack.command import StackCommand
from apps.devstack.stopping import Stopped, stop_on_signals


class Command(StackCommand):
    help = "Start a stack in which four things are wrong, until Ctrl-C; nothing is left behind."

    def work(self) -> None:
        stop_on_signals()
        try:
            operators_drill.run(os.environ)
        except Stopped as stopped:
            sys.exit(128 + stopped.number)
