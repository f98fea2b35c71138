"""The benchmarks measure what they say: their messages are read, and their frames reach the handlers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import decode, orders, stream_ingest, tick_to_decision
from bench.desk import empty_sqlite, filled_sqlite, running
from bench.frames import mark_frame, natives, quotes
from pms.exchange import messages as m
from pms.risk.kernel import NumpyKernel


@pytest.mark.parametrize(("name", "size", "call"), decode.cases(), ids=[case[0] for case in decode.cases()])
def test_each_decoded_message_is_a_whole_one(name: str, size: int, call: object) -> None:
    assert callable(call)
    message = call()
    assert message
    assert not isinstance(message, m.UnknownEvent)
    # The recorded answer has blanks between its parts.
    assert len(m.encode_message(message)) == pytest.approx(size, rel=0.4 if name == "exchangeInfo" else 0.02)


@pytest.mark.parametrize("burst", [1, 600])
async def test_frames_reach_the_handlers_and_the_newest_of_a_burst_only(burst: int) -> None:
    recorded = list(quotes(600))
    frames = [quote.frame(number, 0) for number, quote in enumerate(recorded)]
    _, samples, delivered = await stream_ingest._turns(frames, burst)
    expected = 600 if burst == 1 else len({quote.native for quote in recorded})
    assert (len(samples), delivered) == (600 // burst, expected)


def test_frames_have_the_shape_of_the_wire() -> None:
    assert len(set(natives())) == 300
    book = m.decode_market_frame(next(quotes(1)).frame(7, 9))
    mark = m.decode_market_frame(mark_frame("BTC001USDT", "1.0", 9))
    assert book is not None
    assert mark is not None
    assert isinstance(book.data, m.BookTickerEvent)
    assert (book.data.update_id, book.data.event_time, book.data.pair) == (7, 9, book.data.symbol)
    assert book.stream == f"{book.data.symbol.lower()}@bookTicker"
    assert isinstance(mark.data, m.MarkPriceEvent)


async def test_the_bench_sends_and_books_orders_of_the_engines_own_parts(tmp_path: Path) -> None:
    async with running(await empty_sqlite(tmp_path), tmp_path) as desk:
        accounts = await desk.accounts(2)
        for number in range(3):
            await orders._order(desk, accounts[0], number)
        assert len(desk.venue.placed_at) == 3
        assert len(desk.ledger.open_positions()) == 1


async def test_the_bench_adopts_what_it_made(tmp_path: Path) -> None:
    url = await filled_sqlite(tmp_path, 4, ["BTC/USDT:USDT", "ETH/USDT:USDT"])
    async with running(url, tmp_path) as desk:
        assert len(desk.ledger.open_positions()) == 8
        assert set(desk.venue.held.values()) == {0}


def test_the_naive_evaluation_and_the_book_see_the_same_breaches() -> None:
    book, naive = tick_to_decision.build(50, NumpyKernel()), tick_to_decision.naive_accounts(50)
    raw = tick_to_decision.messages(1)[0]
    marks = {symbol: float(entry) for symbol, entry in tick_to_decision.ENTRIES.items()}
    assert tick_to_decision._tick(book, raw) == tick_to_decision._naive_tick(naive, marks, raw) == 0
