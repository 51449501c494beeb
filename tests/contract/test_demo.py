"""`make demo`, the README's first command, with its real model."""

import os
import subprocess
from pathlib import Path

from tests.stack import ROOT


def test_make_demo(tmp_path: Path) -> None:
    given = ("DATABASE_URL", "REDIS_URL", "STORAGE_DIR", "SECRET_KEY", "INFERENCE_", "PORT", "WORKERS")
    usual = {name: value for name, value in os.environ.items() if not name.startswith(given)}

    done = subprocess.run(
        ["make", "--no-print-directory", "demo"],
        cwd=ROOT,
        env=usual | {"VAR_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "completed: 25 of 25 lines answered" in done.stdout
    (output,) = (tmp_path / "demo").glob("*.output.jsonl")
    assert len(output.read_text().splitlines()) == 25
