"""`manage.py devstack`: everything ZeroBatch needs, in one terminal."""

import os

from apps.devstack import stack
from apps.devstack.command import StackCommand


class Command(StackCommand):
    help = "Run the API, its workers and whatever service the environment does not name, until Ctrl-C."

    def work(self) -> None:
        stack.run(os.environ)
