"""Where the server and its key come from."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from apps.cli import settings
from apps.cli.exits import CliError, Exit

NOTHING: Mapping[str, str | None] = {}
OURS = {"ZEROBATCH_BASE_URL": "http://env/v1", "ZEROBATCH_API_KEY": "env-key"}
OPENAI = {"OPENAI_BASE_URL": "https://openai/v1", "OPENAI_API_KEY": "openai-key"}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a settings file."""
    path = tmp_path / "config" / "zerobatch" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text('base_url = "http://file/v1"\napi_key = "file-key"\n')
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def made_up(tmp_path: Path) -> dict[str, str]:
    """An environment in which `make up` runs."""
    (tmp_path / "dev.env").write_text(
        "ZEROBATCH_BASE_URL=http://dev/v1\nZEROBATCH_API_KEY=dev-key\nREDIS_URL=redis://x\n"
    )
    return {"VAR_DIR": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "none")}


def pair(given: Mapping[str, str | None], environ: Mapping[str, str]) -> tuple[str, str]:
    found = settings.load(given, environ)
    return found.base_url, found.api_key


def test_the_nearer_place_wins(home: dict[str, str], made_up: dict[str, str]) -> None:
    everything = made_up | home | OURS | OPENAI
    options = {"base_url": "http://option/v1", "api_key": "option-key"}

    assert pair(options, everything) == ("http://option/v1", "option-key")
    assert pair(NOTHING, everything) == ("http://env/v1", "env-key")
    assert pair(NOTHING, made_up | home | OPENAI) == ("http://file/v1", "file-key")
    assert pair(NOTHING, made_up | OPENAI) == ("http://dev/v1", "dev-key")
    assert pair(NOTHING, {"XDG_CONFIG_HOME": made_up["XDG_CONFIG_HOME"], **OPENAI}) == (
        "https://openai/v1",
        "openai-key",
    )


def test_a_key_of_ones_own_goes_with_the_files_address(home: dict[str, str]) -> None:
    assert pair({"api_key": "mine"}, home) == ("http://file/v1", "mine")


def test_a_key_never_goes_to_an_address_it_was_not_given_for(home: dict[str, str]) -> None:
    with pytest.raises(CliError, match="no API key for http://other/v1") as error:
        settings.load({"base_url": "http://other"}, home | OPENAI)
    assert error.value.exit == Exit.USAGE


def test_an_openai_key_alone_names_no_server(made_up: dict[str, str]) -> None:
    with pytest.raises(CliError, match="no server is set: give --base-url"):
        settings.load(NOTHING, {"XDG_CONFIG_HOME": made_up["XDG_CONFIG_HOME"], "OPENAI_API_KEY": "k"})


@pytest.mark.parametrize("url", ["http://host", "http://host/", "http://host/v1", "http://host/v1/"])
def test_v1_may_be_left_out(url: str) -> None:
    assert settings.load({"base_url": url, "api_key": "k"}, {}).base_url == "http://host/v1"


@pytest.mark.parametrize(
    ("base_url", "key", "sentence"),
    [
        ("batch.example.com", "k", "must be like https://batch.example.com/v1, not 'batch.example.com'"),
        ("ftp://host", "k", "must be like"),
        ("http://host", "ke y", "a character that no key can have"),
        ("http://host", "schlüssel", "a character that no key can have"),
    ],
)
def test_what_cannot_be_is_refused(base_url: str, key: str, sentence: str) -> None:
    with pytest.raises(CliError, match=sentence):
        settings.load({"base_url": base_url, "api_key": key}, {})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("base_url = ", "cannot read the settings"),
        ("url = 'x'", "url is not a setting"),
        ("api_key = 1", "api_key is not"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)

    with pytest.raises(CliError, match=sentence) as error:
        settings.load(NOTHING, {}, path)
    assert str(path) in str(error.value)


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="there is no file"):
        settings.load(NOTHING, {}, tmp_path / "nowhere.toml")
