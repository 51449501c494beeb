"""What the docs point at is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(r"\b(test_[a-z0-9_]+)(?:\.py)?")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    sources = list((ROOT / "tests").rglob("test_*.py"))
    known = {path.stem for path in sources} | {
        name for path in sources for name in re.findall(r"def (test_\w+)", path.read_text())
    }

    assert set(NAMED.findall(page.read_text())) - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text())

    assert [path for path in linked if not (page.parent / path).exists()] == []


def test_every_page_is_linked_from_another_one() -> None:
    linked = {
        name for page in PAGES for name in re.findall(r"\]\([^)]*?([\w-]+\.md)", page.read_text()) if name != page.name
    }

    assert {page.name for page in (ROOT / "docs").glob("*.md")} - linked == set()
