"""docs/cli.md tells of every command and exit code, and of nothing else."""

import re
import subprocess
import sys
from pathlib import Path

from apps.cli.exits import MEANINGS, Exit
from apps.cli.main import COMMANDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()


def test_every_command_is_documented() -> None:
    assert re.findall(r"^\| `zerobatch (\w+)", PAGE, re.MULTILINE) == list(COMMANDS)


def test_every_exit_code_is_documented() -> None:
    told = {int(code): meaning for code, meaning in re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)}

    assert told == {int(code): meaning for code, meaning in MEANINGS.items()}
    assert set(MEANINGS) == set(Exit)


def test_every_option_that_is_documented_exists() -> None:
    helps = "".join(
        subprocess.run(
            [sys.executable, "-m", "apps.cli", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for command in ("run", "make", "list", "merge", "retry")
    )

    assert [name for name in set(re.findall(r"--[a-z][a-z-]+", PAGE)) if name not in helps] == []
