"""Writes what the clients did into a page, between its two markers."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

from tests.clients.drive import Outcome, Step

BEGIN, END = "<!-- results: written by make test-clients-large -->", "<!-- end of results -->"


def write_table(page: Path, outcomes: list[Outcome]) -> None:
    """Replace what stands between the page's markers. Raises ValueError when they are missing."""
    before, found, rest = page.read_text().partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{page}: the lines {BEGIN} and {END} are needed")
    page.write_text(f"{before}{BEGIN}\n\n{results(outcomes)}\n\n{END}{after}")


def results(outcomes: list[Outcome]) -> str:
    """Return the tables: the steps of every client, then the single calls of each."""
    parts = [_steps(outcomes)]
    for outcome in outcomes:
        calls = [step for step in outcome.steps if step.kind == "call"]
        if calls:
            parts.append(_calls(outcome, calls))
    return "\n\n".join(parts)


def _steps(outcomes: list[Outcome]) -> str:
    names: dict[str, None] = {}
    for outcome in outcomes:
        names.update({step.name: None for step in outcome.steps if step.kind == "step"})
    head = " | ".join(f"{o.client.name} {o.version}" for o in outcomes)
    rows = [f"| step | {head} |", "|---|" + "---|" * len(outcomes)]
    for name in names:
        cells = (_cell(s for s in o.steps if s.name == name and s.kind == "step") for o in outcomes)
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(steps: Iterable[Step]) -> str:
    found = list(steps)
    if not found:
        return ""
    if not all(step.ok for step in found):
        return "FAILED"
    modes = {step.mode for step in found if step.mode}
    return "both modes" if modes == {"one-way", "hedge"} else ", ".join(modes) or "yes"


def _calls(outcome: Outcome, calls: list[Step]) -> str:
    good = ", ".join(step.name for step in calls if step.ok)
    bad = ", ".join(step.name for step in calls if not step.ok)
    text = f"**{outcome.client.name}, single calls whose answers were checked:** {good}."
    return textwrap.fill(f"{text} FAILED: {bad}." if bad else text, 118, break_on_hyphens=False)
