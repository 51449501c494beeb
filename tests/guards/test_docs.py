"""What the docs point at is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"\b(test_[a-z0-9_]+)(?:\.py)?")


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    sources = list((ROOT / "tests").rglob("test_*.py"))
    known = {path.stem for path in sources} | {
        name for path in sources for name in re.findall(r"def (test_\w+)", path.read_text())
    }

    assert set(NAMED.findall(page.read_text())) - known == set()
