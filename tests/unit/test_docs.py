"""Documentation that is made from code is what the code says; decisions and links are in order."""

import re
from pathlib import Path

import pytest

from scripts.generate_docs import DOCS, PAGES, limits_page, main, refusals_page, settings_page, stale_pages
from tests.support.paths import PROJECT_ROOT

DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
PAGES_OF_DOCS = sorted(DOCS.rglob("*.md"))


def test_generated_pages_are_current() -> None:
    assert stale_pages() == [], "run `python -m scripts.generate_docs`"
    assert main(["--check"]) == 0


def test_a_stale_page_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(PAGES, "limits.md", lambda: "something else")
    assert main(["--check"]) == 1
    assert "docs/limits.md is stale" in capsys.readouterr().err


def test_generated_pages_hold_what_they_must() -> None:
    assert re.search(r"\| `PORT` \| `3900` \| .*WebSocket", settings_page())
    assert "`BINANCE_API_KEY`, `api_key`" in settings_page()
    assert "| `ACCOUNT_FROZEN` | 400 |" in refusals_page()
    assert "| `CHASES_MAX` | 500 | Active chases. | The start is refused" in limits_page().replace(
        "the start", "The start"
    )
    assert "## Gateway" in limits_page()


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_is_one_short_page_of_the_same_form(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert re.fullmatch(rf"# {page.stem[:4]} \S.*", lines[0]), "the first line is `# NNNN Title`"
    headings = [line for line in lines if line.startswith("## ")]
    assert headings == ["## Context", "## Decision", "## Consequences"]
    assert re.search(r"^Status: (accepted|superseded by \d{4})", text, re.M)
    assert 10 <= len(lines) <= 40


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.stem[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("page", PAGES_OF_DOCS, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_map_names_every_package_of_the_house() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    packages = [path.parent.name for path in (PROJECT_ROOT / "src" / "pms").glob("*/__init__.py")]
    assert packages
    assert [name for name in packages if f"{name}/" not in text] == []
