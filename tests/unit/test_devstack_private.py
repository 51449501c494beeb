"""Files that the dev stack keeps for itself, and what becomes of damaged ones."""

from pathlib import Path

import pytest

from apps.devstack import private, services
from apps.devstack.errors import DevstackError


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", "€".encode()])
def test_a_damaged_secret_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    kept = tmp_path / "secret"
    kept.write_bytes(damage)

    secret = private.secret(kept)

    assert len(secret) > 20
    assert private.secret(kept) == secret


def test_a_damaged_list_is_empty(tmp_path: Path) -> None:
    kept = tmp_path / "dev.key"
    kept.write_bytes(b"KEY=\xff")

    assert private.read_env(kept) == {}


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DevstackError, match="cannot read"):
        private.read_env(tmp_path)


def test_a_host_is_shown_without_its_password() -> None:
    assert services.host("redis://:secret@127.0.0.1:6379/0") == "127.0.0.1:6379"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "http://", "nonsense", "http://host:port"])
def test_nobody_listens_at_a_wrong_address(url: str) -> None:
    assert services.listens(url) is False
