"""The command line in this process, and a server of another make for it to talk to."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from apps.cli import api, download
from apps.cli.main import main
from tests.conftest import jsonl, line
from tests.fakes.batch_api import FakeBatchApi


class Done(NamedTuple):
    """How a command ended, and what it said where."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server is known, and files are made in a folder of the test's own."""
    for name in [name for name in os.environ if name.startswith(("ZEROBATCH_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("VAR_DIR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("run", path)`: what a command did."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBatchApi]:
    """The fake, which the environment names; what waits for it waits no longer than it must."""
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(api, "MOST_PAUSE", 0)
    with FakeBatchApi() as fake:
        monkeypatch.setenv("ZEROBATCH_BASE_URL", fake.base_url)
        monkeypatch.setenv("ZEROBATCH_API_KEY", "zb_key")
        yield fake


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    """A valid input."""
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(jsonl([line("a"), line("b")]))
    return path
