"""Places between two steps at which a drill may kill the process, to prove that dying there loses nothing.

`FAILPOINTS_DIR` names a folder; a file in it, called as a point, arms that point once. Outside DEBUG the setting is
refused (check zerobatch.E002), and without it a point costs one look at a setting.
"""

import os
import signal
from pathlib import Path

from django.conf import settings

POINTS = (
    "upload.stored",
    "create.validated",
    "create.input_held",
    "create.batch_saved",
    "create.chunks_saved",
    "create.moved",
    "create.committed",
    "start.marked",
    "start.sent",
    "run.claimed",
    "run.answered",
    "run.parts_written",
    "run.committed",
    "run.journal_dropped",
    "assemble.claimed",
    "assemble.finalizing",
    "assemble.output_stored",
    "assemble.error_stored",
    "assemble.registered",
    "assemble.moved",
    "assemble.committed",
    "assemble.parts_removed",
)


def reach(point: str) -> None:
    """Dies here, as by `kill -9`, if the point is armed."""
    if settings.FAILPOINTS_DIR and _disarm(Path(settings.FAILPOINTS_DIR) / point):
        os.kill(os.getpid(), signal.SIGKILL)


def _disarm(armed: Path) -> bool:
    """True for one process only, the one that removes the file."""
    try:
        armed.unlink()
    except FileNotFoundError:
        return False
    return True
