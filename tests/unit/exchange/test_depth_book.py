"""The local order book: joined to its snapshot by the venue's rule, started again at any gap."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.exchange.binance import depth_book
from pms.exchange.binance.depth_book import DepthBook
from pms.exchange.messages import DepthEvent
from tests.support.paths import shared_data

CAPTURE = "binance/streams_capture_btcusdt_2024-08-08.jsonl"


def event(first: int, final: int, previous: int, bids: str = "", asks: str = "") -> DepthEvent:
    """An event; levels as "price:quantity price:quantity"."""
    below, above = ([level.split(":") for level in side.split()] for side in (bids, asks))
    return DepthEvent(1, 1, "BTCUSDT", first, final, previous, below, above)


BIDS, ASKS = [["99", "1"], ["98", "2"]], [["101", "1"], ["102", "2"]]


def joined() -> DepthBook:
    """A book at update 100, its first event applied up to 105."""
    book = DepthBook()
    book.take(event(95, 105, 94, "99:3"))
    assert book.snapshot(100, BIDS, ASKS)
    return book


# The first event after a snapshot with last update 100: (U, u) and whether it joins (spec 4.3, rules 3, 4).
JOINS = [
    ((90, 99), None, "older than the snapshot: dropped"),
    ((90, 100), True, "ends with it"),
    ((100, 110), True, "begins with it"),
    ((95, 105), True, "spans it"),
    ((101, 110), False, "something between is missing"),
]


@pytest.mark.parametrize(("ids", "joins", "why"), JOINS, ids=[row[2] for row in JOINS])
def test_the_first_event_after_a_snapshot(ids: tuple[int, int], joins: bool | None, why: str) -> None:
    book = DepthBook()
    assert not book.wants_snapshot(), "nothing to join a snapshot to yet"
    book.take(event(*ids, ids[0] - 1, "97:1"))
    assert book.wants_snapshot()
    assert book.snapshot(100, BIDS, ASKS) is (joins is not False)
    assert len(book.bids(9)) == (3 if joins else 2 if joins is None else 0), why
    assert book.in_step is (joins is not False)
    # Rule 4 holds for the first event also when it comes after the snapshot.
    later = DepthBook()
    later.take(event(1, 2, 0))
    assert later.snapshot(100, BIDS, ASKS)
    later.take(event(*ids, ids[0] - 1, "97:1"))
    assert later.in_step is (joins is not False)


def test_quantities_are_absolute_and_zero_removes() -> None:
    book = joined()
    assert book.bids(9) == ((99.0, 3.0), (98.0, 2.0))
    assert book.take(event(106, 110, 105, "98:0 97.5:4 50:0", "100.5:1 101:0"))
    assert book.bids(9) == ((99.0, 3.0), (97.5, 4.0))
    assert book.asks(9) == ((100.5, 1.0), (102.0, 2.0))
    assert book.asks(1) == ((100.5, 1.0),)
    assert (book.update_id, book.statistics().applied) == (110, 2)


def test_a_repeated_event_is_dropped_and_a_gap_starts_again() -> None:
    book = joined()
    assert not book.take(event(95, 105, 94, "99:7"))
    assert book.bids(1) == ((99.0, 3.0),)
    assert book.take(event(108, 110, 107, "99:8")), "107 is not 105"
    assert not book.in_step
    assert book.bids(9) == book.asks(9) == ()
    assert book.wants_snapshot()
    assert not book.snapshot(107, BIDS, ASKS), "the snapshot ends before the event that waits"
    assert book.wants_snapshot()
    assert book.snapshot(109, BIDS, ASKS)
    assert book.bids(1) == ((99.0, 8.0),)
    counted = book.statistics()
    assert (counted.repeated, counted.gaps, counted.snapshots, counted.snapshots_unfit) == (1, 1, 3, 1)


def test_a_crossed_book_is_not_shown() -> None:
    book = joined()
    book.take(event(106, 107, 105, "101.5:1"))
    assert not book.in_step
    assert book.bids(9) == ()


def test_what_waits_keeps_its_chain() -> None:
    book = DepthBook()
    book.take(event(1, 10, 0))
    book.take(event(1, 10, 0))
    book.take(event(11, 20, 10))
    book.take(event(31, 40, 30, "99:9"))
    assert not book.snapshot(15, BIDS, ASKS), "21 to 30 are missing"
    assert book.snapshot(35, BIDS, ASKS)
    assert book.bids(1) == ((99.0, 9.0),)


def test_both_sides_and_the_waiting_events_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_book, "LEVELS_MAX", 3)
    book = joined()
    book.take(event(106, 110, 105, "97:1 96:1 95:1 98.5:1", "103:1 104:1"))
    assert [price for price, _ in book.bids(9)] == [99.0, 98.5, 98.0]
    assert [price for price, _ in book.asks(9)] == [101.0, 102.0, 103.0]
    waiting = DepthBook()
    for number in range(depth_book.WAITING_EVENTS_MAX + 10):
        waiting.take(event(number, number, number - 1))
    assert not waiting.snapshot(5, BIDS, ASKS), "the events that it would need are gone"


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 20), st.integers(0, 3)), max_size=60))
def test_the_sides_equal_a_plain_dictionary(changes: list[tuple[bool, int, int]]) -> None:
    book = DepthBook()
    book.take(event(1, 1, 0))
    assert book.snapshot(1, [], [])
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    for number, (is_bid, distance, quantity) in enumerate(changes):
        side, price = (bids, 100 - distance) if is_bid else (asks, 100 + distance)
        side[float(price)] = float(quantity)
        text = f"{price}:{quantity}"
        book.take(event(number + 2, number + 2, number + 1, *((text, "") if is_bid else ("", text))))
    assert book.bids(99) == tuple(sorted(((p, q) for p, q in bids.items() if q), reverse=True))
    assert book.asks(99) == tuple(sorted((p, q) for p, q in asks.items() if q))


# --- a real capture


class Capture:
    """The capture's depth events, book tickers and snapshot, in the order of arrival."""

    def __init__(self, path: Path) -> None:
        self.rows: list[dict[str, object]] = []
        for line in path.read_bytes().splitlines():
            message = msgspec.json.decode(line.partition(b" ")[2])
            self.rows.append(message.get("data", message))

    def of(self, kind: str | None) -> list[dict[str, object]]:
        return [row for row in self.rows if row.get("e") == kind]

    def events(self) -> list[DepthEvent]:
        return [msgspec.convert(row, DepthEvent) for row in self.of("depthUpdate")]


@pytest.fixture(scope="module")
def capture() -> Capture:
    folder = shared_data()
    if folder is None:
        pytest.skip("shared reference data not present")
    return Capture(folder / CAPTURE)


def load(book: DepthBook, snapshot: dict[str, object]) -> bool:
    body = msgspec.convert(snapshot, dict[str, object] | None)
    assert body is not None
    levels = msgspec.convert([body["bids"], body["asks"]], list[list[list[str]]])
    return book.snapshot(msgspec.convert(body["lastUpdateId"], int), *levels)


def test_a_real_capture_stays_in_step_and_agrees_with_the_book_tickers(capture: Capture) -> None:
    tickers: dict[object, tuple[float, float]] = {
        row["u"]: (float(str(row["b"])), float(str(row["a"]))) for row in capture.of("bookTicker")
    }
    book, compared = DepthBook(), 0
    for row in capture.rows:
        if row.get("e") == "depthUpdate":
            book.take(msgspec.convert(row, DepthEvent))
        elif "lastUpdateId" in row:
            assert load(book, row)
        best = tickers.get(book.update_id)
        if book.in_step and best is not None:
            compared += 1
            assert (book.bids(1)[0][0], book.asks(1)[0][0]) == best
    counted = book.statistics()
    assert len(capture.events()) == 286
    assert counted.in_step
    assert (counted.gaps, counted.snapshots) == (0, 1)
    assert counted.applied > 270
    assert compared > 0
    assert len(book.bids(9999)) > 900


DAMAGES = ["cut", "swapped", "repeated"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_capture_starts_again_and_ends_at_the_same_book(capture: Capture, damage: str) -> None:
    events = capture.events()
    (snapshot,) = [row for row in capture.rows if "lastUpdateId" in row]
    whole = DepthBook()
    for one in events:
        whole.take(one)
        if whole.wants_snapshot():
            load(whole, snapshot)
    assert whole.in_step
    damaged = list(events)
    if damage == "cut":
        del damaged[100:110]
    elif damage == "swapped":
        damaged[100], damaged[101] = damaged[101], damaged[100]
    else:
        damaged[100:100] = events[60:100]
    book = DepthBook()
    # What the venue would answer to a request for a snapshot: the true book at that time.
    for number, one in enumerate(damaged):
        book.take(one)
        if book.wants_snapshot():
            if number < 50:
                load(book, snapshot)
                continue
            truth = DepthBook()
            for before in events[: events.index(one) + 1]:
                truth.take(before)
                if truth.wants_snapshot():
                    load(truth, snapshot)
            levels = [[[str(p), str(q)] for p, q in side(9999)] for side in (truth.bids, truth.asks)]
            book.snapshot(truth.update_id, *levels)
    counted = book.statistics()
    assert counted.in_step
    assert counted.gaps == (0 if damage == "repeated" else 1)
    assert book.bids(20) == whole.bids(20)
    assert book.asks(20) == whole.asks(20)
    extra = 40 if damage == "repeated" else 1 if damage == "swapped" else 0
    assert counted.repeated == whole.statistics().repeated + extra
