"""`zerobatch` against a live server and real workers, in a pipe and in a terminal."""

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from apps.cli.download import STDOUT
from tests.conftest import jsonl, line
from tests.fakes.upstream import FakeUpstream
from tests.stack import FULL_DISK_BYTES, ROOT, Stack, wait_for_cancel_to_be_seen

ZEROBATCH = [sys.executable, "-m", "apps.cli"]
REVIEWS = ROOT / "examples" / "reviews.jsonl"
SECONDS = 30


@pytest.fixture
def env(stack: Stack, tmp_path: Path) -> dict[str, str]:
    """A user who has nothing but this stack."""
    unset = ("ZEROBATCH_", "OPENAI_", "VAR_DIR")
    usual = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    ours = {name: stack.env[name] for name in ("ZEROBATCH_BASE_URL", "ZEROBATCH_API_KEY")}
    return usual | ours | {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "120"}


@pytest.fixture
def shell(env: dict[str, str], tmp_path: Path) -> "Shell":
    return Shell(env, tmp_path)


def _hear_ctrl_c() -> None:
    """What a shell starts in the background, tests included, ignores Ctrl-C, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Shell:
    """A folder in which the command line is used."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._env, self.folder = env, folder

    def run(self, *arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
        """Without a terminal, to its end."""
        return subprocess.run(
            [*ZEROBATCH, *map(str, arguments)],
            env=self._env | changes,
            cwd=self.folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Without a terminal."""
        return subprocess.Popen(
            [*ZEROBATCH, *map(str, arguments)],
            env=self._env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hear_ctrl_c,  # noqa: PLW1509  it takes no lock
        )

    @contextmanager
    def terminal(self, *arguments: object) -> Iterator["pexpect.spawn[str]"]:
        """In a pseudo-terminal."""
        words = [*ZEROBATCH[1:], *map(str, arguments)]
        child = pexpect.spawn(
            ZEROBATCH[0],
            words,
            env=self._env,
            cwd=str(self.folder),
            encoding="utf-8",
            timeout=SECONDS,
            dimensions=(40, 160),
            preexec_fn=_hear_ctrl_c,
        )
        try:
            yield child
        finally:
            child.close(force=True)

    def write(self, name: str, lines: list[dict[str, object]]) -> Path:
        path = self.folder / name
        path.write_bytes(jsonl(lines))
        return path

    def rows(self, name: str) -> list[dict[str, object]]:
        return [json.loads(row) for row in (self.folder / name).read_text().splitlines()]


def exit_code(child: "pexpect.spawn[str]") -> int | None:
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


def held(shell: Shell) -> Path:
    """An input of lines that the upstream answers when its gate opens."""
    return shell.write("in.jsonl", [line(str(number)) for number in range(10)])


def test_reviews_in_a_pipe(shell: Shell) -> None:
    done = shell.run("run", REVIEWS, "-o", "out.jsonl", "--errors", "err.jsonl")

    assert done.returncode == 0, done.stderr
    assert re.search(r"^batch_\w+ completed: 25 of 25 lines answered, 300 tokens$", done.stdout, re.MULTILINE)
    assert "Uploaded reviews.jsonl (10 kB) as file-" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    asked = [json.loads(row)["custom_id"] for row in REVIEWS.read_text().splitlines()]
    assert [row["custom_id"] for row in shell.rows("out.jsonl")] == asked


def test_reviews_in_a_terminal(shell: Shell) -> None:
    with shell.terminal("run", REVIEWS, "-o", "out.jsonl", "--errors", "err.jsonl") as child:
        child.expect(r"Created batch_\w+ with 25 lines")
        child.expect(r"━")
        child.expect("completed: 25 of 25 lines answered")
        assert exit_code(child) == 0
    assert len(shell.rows("out.jsonl")) == 25


def test_ctrl_c_leaves_it_running_and_resume_comes_back(shell: Shell, witness: FakeUpstream) -> None:
    path = held(shell)
    witness.gate.close()
    try:
        with shell.terminal("run", path) as child:
            child.expect("0 of 10 lines")
            child.sendintr()
            child.expect(r"Leave batch_\w+ running \(l\), cancel it \(c\), or keep waiting \(w\)\?")
            child.sendline("w")
            child.expect("0 of 10 lines")
            child.sendintr()
            child.expect(r"keep waiting \(w\)\?")
            child.sendline("")
            child.expect(r"zerobatch run --resume (batch_\w+) (-o \S+in.output.jsonl --errors \S+in.errors.jsonl)")
            assert isinstance(child.match, re.Match)
            batch_id, options = child.match.groups()
            assert exit_code(child) == 130
    finally:
        witness.gate.open()

    done = shell.run("run", "--resume", batch_id, *options.split())

    assert done.returncode == 0, done.stderr
    assert len(shell.rows("in.output.jsonl")) == 10


def test_ctrl_c_may_cancel(stack: Stack, shell: Shell, witness: FakeUpstream) -> None:
    path = shell.write("in.jsonl", [line(str(number)) for number in range(400)])
    before = witness.request_count
    witness.gate.close()
    try:
        with shell.terminal("run", path) as child:
            child.expect("of 400 lines")
            witness.wait_for_requests(before + 50)
            child.sendintr()
            child.expect(r"keep waiting \(w\)\?")
            child.sendline("c")
            child.expect(r"Cancelling (batch_\w+)")
            assert isinstance(child.match, re.Match)
            batch_id = str(child.match[1])
            wait_for_cancel_to_be_seen(stack, stack.sdk().batches.retrieve(batch_id))
            witness.gate.open()
            child.expect(r"cancelled: \d+ of 400 lines answered")
            assert exit_code(child) == 4
    finally:
        witness.gate.open()
    answered, unsent = len(shell.rows("in.output.jsonl")), shell.rows("in.errors.jsonl")
    assert answered + len(unsent) == 400

    again = shell.run("retry", batch_id, "--cancelled", "-o", "again.jsonl")

    assert again.returncode == 0, again.stderr
    assert [row["custom_id"] for row in shell.rows("again.jsonl")] == [row["custom_id"] for row in unsent]
    assert stack.sdk().batches.list(limit=1).data[0].to_dict()["retry_of"] == batch_id  # the server's own retry


def test_ctrl_c_in_a_pipe_leaves_it_running(shell: Shell, witness: FakeUpstream) -> None:
    path = held(shell)
    witness.gate.close()
    try:
        with shell.start("run", path) as running:
            assert running.stderr is not None
            said = [next(running.stderr) for _ in range(4)]
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=SECONDS)
    finally:
        witness.gate.open()

    assert said[-1].startswith("in_progress: 0 of 10 lines")
    assert (running.returncode, out) == (130, "")
    assert "goes on running.\n  to come back to it: zerobatch run --resume batch_" in err


def test_a_big_input_goes_up_in_parts(stack: Stack, shell: Shell) -> None:
    """With a smaller notion of big than the real one."""
    path = shell.write("in.jsonl", [line(f"line {number}") for number in range(500)])
    in_parts = (
        "import runpy, sys; from apps.cli import upload; upload.ONE_UPLOAD_BYTES, upload.PART_BYTES = 1_000, 7_777; "
        "sys.argv[0] = 'zerobatch'; runpy.run_module('apps.cli', run_name='__main__')"
    )
    before = stack.ask_postgres("SELECT count(*) FROM files_upload WHERE status = 'completed'")

    done = subprocess.run(
        [sys.executable, "-c", in_parts, "run", str(path), "-o", "out.jsonl"],
        env=shell._env,
        cwd=shell.folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [row["custom_id"] for row in shell.rows("out.jsonl")] == [f"line {number}" for number in range(500)]
    assert stack.ask_postgres("SELECT count(*) FROM files_upload WHERE status = 'completed'") == before + 1


def test_make_run_merge_tags_a_csv_in_order(shell: Shell) -> None:
    texts = [f'Review {number}, "quoted"\nand more; ü' for number in range(1000)]
    with (shell.folder / "reviews.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("text",), *((text,) for text in texts)])

    made = shell.run("make", "reviews.csv", "--model", "echo", "--prompt", "{text}")
    ran = shell.run("run", "reviews.input.jsonl")
    merged = shell.run("merge", "reviews.csv", "reviews.output.jsonl", "-o", "tagged.csv")

    assert [made.returncode, ran.returncode, merged.returncode] == [0, 0, 0], made.stderr + ran.stderr + merged.stderr
    assert merged.stdout == "tagged.csv: 1,000 rows, 1,000 answered, 0 failed, 0 missing\n"
    with (shell.folder / "tagged.csv").open(newline="") as stream:
        assert [(row["text"], row["answer"]) for row in csv.DictReader(stream)] == [(text, text) for text in texts]


def test_failed_lines_are_told_by_code(shell: Shell) -> None:
    lines = [line("good"), *(line(str(n), body={"model": "status-400", "messages": []}) for n in range(3))]

    done = shell.run("run", shell.write("in.jsonl", lines), "--json")

    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert document["error_codes"] == {"invalid_request_error": 3}
    assert document["batch"]["request_counts"] == {"total": 4, "completed": 1, "failed": 3}
    assert shell.run("status", document["batch"]["id"]).stdout.splitlines()[2].endswith("4 of 4 done, 3 failed")
    assert shell.run("cancel", document["batch"]["id"]).returncode == 7
    assert "no line that failed for a passing reason" in shell.run("retry", document["batch"]["id"]).stdout


def test_the_server_and_the_local_check_say_the_same(shell: Shell) -> None:
    path = shell.write("bad.jsonl", [line("a"), line("a"), line("b", method="GET"), line("c", body={})])

    here, there = shell.run("validate", path), shell.run("run", path, "--no-check")

    assert (here.returncode, there.returncode) == (3, 3)
    assert len(here.stdout.splitlines()) == 3
    assert [f"  {row}" for row in here.stdout.splitlines()] == there.stderr.splitlines()[-3:]


def test_who_may_not_and_what_is_not_there(shell: Shell) -> None:
    wrong_key = shell.run("list", ZEROBATCH_API_KEY="zb_wrong")
    missing = shell.run("status", "batch_missing")

    assert (wrong_key.returncode, missing.returncode) == (6, 7)
    assert wrong_key.stderr.endswith("refuses the key: Invalid credentials\n")
    assert missing.stderr == "zerobatch: the server refuses: Batch not found: batch_missing\n"


def test_a_full_disk_is_a_sentence_and_the_download_goes_on_later(shell: Shell) -> None:
    path = shell.write("in.jsonl", [line(f"line {number}") for number in range(50)])
    batch_id = json.loads(shell.run("run", path, "--detach", "--json").stdout)["batch"]["id"]
    assert shell.run("run", "--resume", batch_id, "-o", STDOUT).returncode == 0
    small_disk = (
        "import resource, runpy, sys; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({FULL_DISK_BYTES}, {resource.RLIM_INFINITY})); "
        "sys.argv[0] = 'zerobatch'; runpy.run_module('apps.cli', run_name='__main__')"
    )
    full = subprocess.run(
        [sys.executable, "-c", small_disk, "download", batch_id, "-o", "out.jsonl"],
        env=shell._env,
        cwd=shell.folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert full.returncode == 8
    assert re.fullmatch(
        r"zerobatch: cannot write out.jsonl: File too large; to go on where it stopped: .*\n", full.stderr
    )
    assert not (shell.folder / "out.jsonl").exists()
    assert [part.stat().st_size for part in shell.folder.glob(".out.jsonl.*.part")] == [FULL_DISK_BYTES]
    assert shell.run("download", batch_id, "-o", "out.jsonl").returncode == 0
    assert [row["custom_id"] for row in shell.rows("out.jsonl")] == [f"line {number}" for number in range(50)]
