"""The page of client results: what it says of steps that were done, failed, or not tried."""

from pathlib import Path

import pytest

from tests.clients.clients import CLIENTS
from tests.clients.drive import Outcome, Step
from tests.clients.environments import Client
from tests.clients.table import BEGIN, END, write_table

CCXT, PYTHON_BINANCE = CLIENTS[:2]


def step(name: str, mode: str = "", ok: bool = True, kind: str = "step") -> Step:
    return Step(kind, mode, name, ok, "", 0.1, "" if ok else "Traceback")


def page_of(folder: Path, *outcomes: Outcome) -> str:
    page = folder / "clients.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_table(page, list(outcomes))
    return page.read_text()


def test_a_step_is_told_with_the_modes_in_which_it_was_done(tmp_path: Path) -> None:
    first = Outcome(CCXT, "1.0", [step("quotes"), step("place", "hedge"), step("place", "one-way")])
    second = Outcome(PYTHON_BINANCE, "2.0", [step("place", "one-way"), step("amend", "one-way", ok=False)])
    text = page_of(tmp_path, first, second)
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| step | ccxt 1.0 | python-binance 2.0 |" in text
    assert "| quotes | yes |  |" in text
    assert "| place | both modes | one-way |" in text
    assert "| amend |  | FAILED |" in text


def test_a_step_that_failed_in_one_mode_has_failed(tmp_path: Path) -> None:
    steps = [step("place", "hedge"), step("place", "one-way", ok=False)]
    assert "| place | FAILED |" in page_of(tmp_path, Outcome(CCXT, "1.0", steps))


def test_single_calls_are_listed_apart_and_failed_ones_named(tmp_path: Path) -> None:
    calls = [step("fetch_time", kind="call"), step("fetch_ticker", ok=False, kind="call")]
    text = page_of(tmp_path, Outcome(CCXT, "1.0", calls))
    assert "checked:** fetch_time. FAILED: fetch_ticker." in text
    assert "| fetch_time |" not in text


def test_a_page_without_the_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "clients.md"
    page.write_text("nothing here")
    with pytest.raises(ValueError, match="are needed"):
        write_table(page, [])


@pytest.mark.parametrize(
    ("outcome", "good"),
    [
        (Outcome(CCXT, steps=[step("a")]), True),
        (Outcome(CCXT, steps=[step("a"), step("b", ok=False)]), False),
        (Outcome(CCXT, steps=[]), False),
        (Outcome(CCXT, steps=[step("a")], problem="it ended with 1"), False),
    ],
)
def test_a_client_is_good_when_it_did_something_and_all_of_it(outcome: Outcome, good: bool) -> None:
    assert outcome.ok is good


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_client_has_a_lock_with_hashes_and_no_address(client: Client) -> None:
    lock = client.lock
    text = lock.read_text()
    assert client.locked_version[0].isdigit()
    if lock.suffix == ".lock":
        pins = text.count("==")
        assert pins
        assert text.count("--hash=sha256:") >= pins
        assert "://" not in text
    else:
        assert '"resolved"' not in text
        assert text.count('"integrity"') > 10
