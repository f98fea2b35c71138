"""Market and user streams against a scripted venue: wishes, cuts, silences, lost keys, full buffers."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from random import Random

import pytest
from msgspec import json

from pms.exchange.binance import BinanceExchange
from pms.exchange.errors import ExchangeUnavailable, UnreadablePayload
from pms.exchange.messages import decode_market_event
from pms.exchange.port import (
    AccountConfigEvent,
    AccountEvent,
    OrderEvent,
    RefusedByExchange,
    StreamGap,
    UserEvent,
)
from pms.model.ids import ClientOrderId
from pms.model.money import Quantity
from pms.model.order import ApprovedOrder, OrderSide, OrderType, SelfMatchPrevention, TimeInForce
from pms.model.price import BookTicker, MarkPrice
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from tests.integration.exchange.fake_venue import (
    FakeVenue,
    answer,
    growing_now_ms,
    running,
    running_venue,
    until,
)

MARKET_ORDER = ApprovedOrder(
    client_order_id=ClientOrderId("PMSabcdefgh_MK_1"),
    symbol=Symbol("BTC/USDT:USDT"),
    side=OrderSide.BUY,
    type=OrderType.MARKET,
    quantity=Quantity(Decimal(1)),
    price=None,
    time_in_force=TimeInForce.GTC,
    reduce_only_wire=False,
    self_match=SelfMatchPrevention.EXPIRE_TAKER,
    risk_reducing=False,
)
BTC, ETH = Symbol("BTC/USDT:USDT"), Symbol("ETH/USDT:USDT")


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    async with running_venue() as running_one:
        yield running_one


async def started(venue: FakeVenue, **tuning: object) -> BinanceExchange:
    exchange = BinanceExchange(venue.config(**tuning), SystemClock(), Random(1))
    await exchange.start()
    return exchange


@pytest.fixture
async def exchange(venue: FakeVenue) -> AsyncIterator[BinanceExchange]:
    exchange = await started(venue)
    yield exchange
    await exchange.close()


def mark(native: str, price: str, **more: object) -> dict[str, object]:
    fields = {
        "e": "markPriceUpdate",
        "E": growing_now_ms(),
        "s": native,
        "p": price,
        "r": "0.0001",
        "T": 99,
        "st": 1,
    }
    return fields | more


def book(native: str, bid: str, update_id: int) -> dict[str, object]:
    return {
        "e": "bookTicker",
        "u": update_id,
        "s": native,
        "b": bid,
        "B": "1",
        "a": "101",
        "A": "2",
        "T": growing_now_ms(),
        "E": growing_now_ms(),
    }


def wishes(venue: FakeVenue, kind: str) -> list[tuple[str, list[str]]]:
    return [(command["method"], command["params"]) for _, command in venue.commands[kind]]


async def test_each_stream_is_asked_for_on_its_class_and_delivered(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    marks: list[MarkPrice] = []
    books: list[BookTicker] = []
    exchange.market.on_mark(marks.append)
    exchange.market.on_book(books.append)
    exchange.market.subscribe(BTC)
    exchange.market.subscribe(BTC)
    async with running(exchange.run()):
        await until(lambda: wishes(venue, "public") and wishes(venue, "market"))
        exchange.market.subscribe(ETH)
        await until(lambda: len(wishes(venue, "market")) == 2)
        await venue.send("market", mark("BTCUSDT", "100.5"), mark("BTCUSDT", "1", st=2))
        await venue.send("public", book("ETHUSDT", "99", 1))
        await until(lambda: marks and books)
        exchange.market.unsubscribe(BTC)
        await until(lambda: len(wishes(venue, "public")) == 3)
    assert wishes(venue, "public") == [
        ("SUBSCRIBE", ["btcusdt@bookTicker"]),
        ("SUBSCRIBE", ["ethusdt@bookTicker"]),
        ("UNSUBSCRIBE", ["btcusdt@bookTicker"]),
    ]
    assert wishes(venue, "market")[:2] == [
        ("SUBSCRIBE", ["!contractInfo", "btcusdt@markPrice@1s"]),
        ("SUBSCRIBE", ["ethusdt@markPrice@1s"]),
    ]
    assert [(each.symbol, each.price, each.funding_rate) for each in marks] == [(BTC, 100.5, 0.0001)]
    assert marks[0].next_funding_time_ms == 99
    assert abs(marks[0].exchange_time_ms - exchange.now_ms()) < 5000
    assert (books[0].symbol, books[0].bid, books[0].ask, books[0].update_id) == (ETH, 99.0, 101.0, 1)


async def test_a_burst_is_conflated_to_the_newest_value_of_each_symbol(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    books: list[BookTicker] = []
    exchange.market.on_book(books.append)
    streams = exchange._streams
    for number in range(1, 1000):
        for native in ("BTCUSDT", "ETHUSDT", "XYZUSDT"):
            streams._take(decode_market_event(json.encode(book(native, "50", number))))
    await until(lambda: len(books) >= 2)
    await asyncio.sleep(0)
    assert [(each.symbol, each.update_id) for each in books] == [(BTC, 999), (ETH, 999)]


async def test_batches_and_pace_of_commands(venue: FakeVenue) -> None:
    venue.natives = [f"C{number}USDT" for number in range(7)]
    exchange = await started(venue, streams_per_command_max=2, commands_per_second_max=20.0, streams_max=8)
    for native in venue.natives:
        exchange.market.subscribe(Symbol(f"{native[:-4]}/USDT:USDT"))
    with pytest.raises(UnreadablePayload):
        exchange.market.subscribe(Symbol("NO/USDT:USDT"))
    with pytest.raises(ExchangeUnavailable, match="bound"):
        exchange._streams.supervisor.market.want("one@markPrice@1s")
    async with running(exchange.run()):
        await until(lambda: len(wishes(venue, "market")) == 4)
    assert [len(params) for _, params in wishes(venue, "market")] == [2, 2, 2, 2]
    times = [at for at, _ in venue.commands["market"]]
    assert times[-1] - times[0] > 0.12, "three pauses of 50 ms"
    await exchange.close()


async def test_market_reconnects_after_a_cut_and_subscribes_again(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    marks: list[MarkPrice] = []
    exchange.market.on_mark(marks.append)
    exchange.market.subscribe(BTC)
    async with running(exchange.run()):
        await until(lambda: len(wishes(venue, "market")) == 1)
        await venue.cut("market")
        await until(lambda: len(wishes(venue, "market")) == 2)
        await venue.send("market", mark("BTCUSDT", "5"))
        await until(lambda: marks)
    assert wishes(venue, "market")[1] == ("SUBSCRIBE", ["!contractInfo", "btcusdt@markPrice@1s"])


async def test_silence_after_subscribing_and_later_is_noticed(venue: FakeVenue) -> None:
    exchange = await started(venue, first_frame_seconds_max=0.05, stale_seconds=0.3, silence_seconds_max=60.0)
    venue.mute_markets = True
    exchange.market.subscribe(BTC)
    async with running(exchange.run()):
        await until(lambda: len(venue.sockets["market"]) >= 2)
        assert exchange.statistics().market_sockets[1].failures >= 1
        await until(lambda: len(wishes(venue, "market")) == len(venue.sockets["market"]))
        await venue.send("market", mark("BTCUSDT", "5"))
        await until(lambda: exchange.statistics().market_sockets[1].stale)
        await venue.send("market", mark("BTCUSDT", "5"))
        await until(lambda: not exchange.statistics().market_sockets[1].stale)
    await exchange.close()


async def test_strange_frames_are_counted_and_refused_commands_told(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    exchange.market.subscribe(BTC)
    async with running(exchange.run()):
        await until(lambda: venue.commands["market"])
        await venue.send("market", "not json", {"e": "newKind"}, mark("BTCUSDT", "many"))
        refusal = '{"error":{"code":2,"msg":"Invalid request"},"id":1}'
        await venue.send("market", refusal)
        await until(lambda: exchange.statistics().market_sockets[1].refused_commands)
        await until(lambda: exchange.statistics().market_streams.malformed)
    assert exchange.statistics().market_sockets[1].strange_frames == 2


async def test_a_failing_handler_ends_the_run(venue: FakeVenue, exchange: BinanceExchange) -> None:
    def broken(price: MarkPrice) -> None:
        raise ArithmeticError("the book is wrong")

    exchange.market.on_mark(broken)
    exchange.market.subscribe(BTC)
    task = asyncio.ensure_future(exchange.run())
    await until(lambda: venue.commands["market"])
    await venue.send("market", mark("BTCUSDT", "5"))
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(5):
            await task
    assert caught.group_contains(ArithmeticError)


async def test_the_stream_tells_that_a_contract_leaves_trading(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    def contract_info(native: str, status: str, family: int) -> dict[str, object]:
        event = {"e": "contractInfo", "E": 1, "s": native, "ct": "PERPETUAL", "dt": 1, "ot": 1}
        return event | {"cs": status, "st": family}

    exchange.market.subscribe(BTC)
    async with running(exchange.run()):
        await until(lambda: venue.commands["market"])
        await venue.send("market", contract_info("ETHUSDT", "SETTLING", 2))
        await venue.send("market", contract_info("BTCUSDT", "PRE_DELIVERING", 1))
        await until(lambda: exchange.statistics().symbols_reduce_only == (BTC,))
        assert not exchange.market.rules()[BTC].trading
        await venue.send("market", contract_info("BTCUSDT", "TRADING", 1))
        await until(lambda: exchange.market.rules()[BTC].trading)
        exchange.market.unsubscribe(BTC)
        await until(lambda: exchange.statistics().supervisor.sockets == 0)


@pytest.mark.parametrize(("code", "again"), [(-1111, True), (-4014, True), (-4164, True), (-2019, False)])
async def test_a_refusal_for_a_filter_loads_the_filters_again(
    venue: FakeVenue, exchange: BinanceExchange, code: int, again: bool
) -> None:
    async def refused(request: object, body: bytes) -> object:
        return answer({"code": code, "msg": "refused"}, 400)

    venue.script["POST", "/fapi/v1/order"] = refused  # type: ignore[assignment]
    exchange._symbols._refreshed_at = float("-inf")
    async with running(exchange.run()):
        for _ in range(3):
            outcome = await exchange.trading.place(MARKET_ORDER)
            assert isinstance(outcome, RefusedByExchange)
        await asyncio.sleep(0.05)
        assert venue.count("GET", "/fapi/v1/exchangeInfo") == 1 + again, "once, not for every refusal"


# --- user stream


class Listener:
    """A handler that keeps what it is told and can be held or made to fail."""

    def __init__(self) -> None:
        self.events: list[UserEvent] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failures = 0

    async def __call__(self, event: UserEvent) -> None:
        self.events.append(event)
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            raise ExchangeUnavailable("the query failed")

    def kinds(self) -> str:
        letters: dict[type[UserEvent], str] = {StreamGap: "G", OrderEvent: "O", AccountEvent: "A"}
        letters[AccountConfigEvent] = "C"
        return "".join(letters[type(event)] for event in self.events)

    def orders(self) -> list[str]:
        return [event.report.client_order_id for event in self.events if isinstance(event, OrderEvent)]


def order(client_id: str, native: str = "BTCUSDT", time_ms: int = 50, **more: object) -> dict[str, object]:
    fields = {
        "s": native,
        "c": client_id,
        "S": "BUY",
        "o": "LIMIT",
        "f": "GTC",
        "q": "1",
        "p": "5",
        "ap": "0",
    }
    fields |= {"x": "NEW", "X": "NEW", "l": "0", "z": "0", "L": "0"}
    body = fields | {"i": 1, "T": time_ms, "t": 0} | more
    return {"e": "ORDER_TRADE_UPDATE", "E": time_ms, "T": time_ms, "o": body}


def account() -> dict[str, object]:
    change = {"m": "DEPOSIT", "B": [{"a": "USDT", "wb": "5", "cw": "5", "bc": "5"}], "P": []}
    return {"e": "ACCOUNT_UPDATE", "E": 1, "T": 1, "a": change}


async def test_gap_first_then_events_in_order(venue: FakeVenue, exchange: BinanceExchange) -> None:
    listener = Listener()
    listener.open.clear()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.events)
        await venue.send("private", order("a"), account(), order("b", t=9, l="1", L="5", z="1", X="FILLED"))
        await until(lambda: exchange.statistics().user_stream.waiting == 3)
        assert listener.kinds() == "G", "live events wait for the gap"
        listener.open.set()
        await until(lambda: len(listener.events) == 4)
    gap = listener.events[0]
    assert isinstance(gap, StreamGap)
    assert gap.since_ms == 0
    assert abs(gap.until_ms - exchange.now_ms()) < 5000
    assert listener.kinds() == "GOAO"
    filled = listener.events[3]
    assert isinstance(filled, OrderEvent)
    assert filled.fill is not None
    assert filled.fill.quantity == Decimal(1)
    assert venue.key_paths == ["key1"]
    assert venue.count("DELETE", "/fapi/v1/listenKey") == 0


async def test_reconnect_announces_what_may_be_missing(venue: FakeVenue, exchange: BinanceExchange) -> None:
    listener = Listener()
    late_ms = exchange.now_ms() + 60_000
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        await venue.send("private", order("a", time_ms=late_ms))
        await until(lambda: listener.kinds() == "GO")
        await venue.cut("private")
        await until(lambda: listener.kinds() == "GOG")
    gap = listener.events[2]
    assert isinstance(gap, StreamGap)
    assert gap.since_ms == late_ms, "nothing before the last event delivered can be missing"


async def test_an_expired_key_is_replaced(venue: FakeVenue, exchange: BinanceExchange) -> None:
    listener = Listener()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        await venue.send("private", {"e": "listenKeyExpired", "E": 5, "listenKey": "key1"})
        await until(lambda: listener.kinds() == "GG")
    assert venue.key_paths == ["key1", "key2"]
    assert exchange.statistics().user_stream.keys_lost == 1


async def test_the_key_is_kept_alive_and_replaced_when_unknown(venue: FakeVenue) -> None:
    exchange = await started(venue, listen_key_seconds=0.05, listen_key_retry_seconds=0.02)
    listener = Listener()
    path = "/fapi/v1/listenKey"
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: venue.count("PUT", path) >= 2)
        assert listener.kinds() == "G"

        async def gone(request: object, body: bytes) -> object:
            venue.script.clear()
            return answer({"code": -1125, "msg": "This listenKey does not exist."}, 400)

        venue.script["PUT", path] = gone  # type: ignore[assignment]
        await until(lambda: listener.kinds() == "GG")
    assert venue.key_paths == ["key1", "key2"]
    assert venue.requests[-1][2] == "", "the keep-alive needs no parameter and no signature"
    await exchange.close()


async def test_a_full_buffer_drops_the_connection_and_tells_the_gap(venue: FakeVenue) -> None:
    exchange = await started(venue, user_events_max=3)
    listener = Listener()
    listener.open.clear()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        await venue.send("private", *(order(f"o{number}") for number in range(4)))
        await until(lambda: exchange.statistics().user_stream.overflows == 1)
        listener.open.set()
        await until(lambda: listener.kinds() == "GG")
    assert len(venue.key_paths) == 2
    await exchange.close()


async def test_hints_and_unknown_events_are_only_counted(venue: FakeVenue, exchange: BinanceExchange) -> None:
    listener = Listener()
    lite = {"e": "TRADE_LITE", "E": 1, "T": 1, "s": "BTCUSDT", "q": "1", "p": "5", "m": False, "c": "a"}
    lite |= {"S": "BUY", "L": "5", "l": "1", "t": 4, "i": 1}
    call = {"e": "MARGIN_CALL", "E": 1, "cw": "1", "p": []}
    config = {"e": "ACCOUNT_CONFIG_UPDATE", "E": 1, "T": 1, "ac": {"s": "BTCUSDT", "l": 5}}
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        await venue.send("private", lite, {"e": "TOMORROW", "E": 1, "T": 1}, call, config, order("a"))
        await until(lambda: listener.kinds() == "GCO")
    changed = listener.events[1]
    assert isinstance(changed, AccountConfigEvent)
    assert (changed.symbol, changed.leverage) == (BTC, 5)
    counted = exchange.statistics().user_stream
    assert (counted.hints, counted.unknown, counted.notices, counted.failures) == (1, 1, 2, 0)


async def test_what_the_venue_newly_sends_is_in_the_adapters_statistics(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    """A field of a private event and of a market frame, and an event of either kind."""
    expected = {("OrderUpdate", "zz"), ("TOMORROW", ""), ("MarkPriceEvent", "zz"), ("tomorrow", "")}

    def found() -> set[tuple[str, str]]:
        return {(each.message, each.name) for each in exchange.statistics().census.findings}

    exchange.market.subscribe(BTC)
    listener = Listener()
    async with running(exchange.run()), running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G" and bool(wishes(venue, "market")))
        await venue.send("private", order("a", zz="?"), {"e": "TOMORROW", "E": 1})
        await venue.send("market", mark("BTCUSDT", "7", zz="?"), {"e": "tomorrow"})
        await until(lambda: listener.kinds() == "GO" and expected <= found())


@pytest.mark.parametrize(
    "strange", [order("x", S="HOLD"), order("x", native="XYZUSDT"), {"e": "ORDER_TRADE_UPDATE"}, "{"]
)
async def test_what_cannot_be_read_becomes_a_gap_in_its_place(
    venue: FakeVenue, exchange: BinanceExchange, strange: object
) -> None:
    listener = Listener()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        await venue.send("private", order("a"), strange, order("b"))
        await until(lambda: listener.kinds() == "GOGO")
    assert len(venue.key_paths) == 1, "no reconnect: the next event may be as strange"
    assert exchange.statistics().user_stream.malformed == 1


@pytest.mark.parametrize("odd", [{"X": "VANISHED"}, {"x": "BLESSED"}, {"er": "77"}, {"later": [1]}])
async def test_new_kinds_of_an_event_are_no_obstacle(
    venue: FakeVenue, exchange: BinanceExchange, odd: dict[str, object]
) -> None:
    listener = Listener()
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        event = order("a", t=9, l="1", L="5", z="1")
        body = event["o"]
        assert isinstance(body, dict)
        await venue.send("private", event | {"o": body | odd})
        await until(lambda: listener.kinds() == "GO")
    told = listener.events[1]
    assert isinstance(told, OrderEvent)
    assert told.fill is not None, "what has a trade id is booked, whatever its kind"
    assert not told.report.status.terminal, "an unknown status never ends an order"
    assert exchange.statistics().user_stream.malformed == 0


async def test_a_new_listing_is_learned_from_an_event(venue: FakeVenue, exchange: BinanceExchange) -> None:
    listener = Listener()
    venue.natives.append("NEWUSDT")
    exchange._symbols._refreshed_at = float("-inf")
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "G")
        await venue.send("private", order("a", native="NEWUSDT"))
        await until(lambda: listener.kinds() == "GO")
    event = listener.events[1]
    assert isinstance(event, OrderEvent)
    assert event.report.symbol == "NEW/USDT:USDT"


async def test_a_handler_that_could_not_ask_gets_the_gap_again(
    venue: FakeVenue, exchange: BinanceExchange
) -> None:
    listener = Listener()
    listener.failures = 1
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: listener.kinds() == "GG")
        listener.failures = 1
        await venue.send("private", order("a"))
        await until(lambda: listener.kinds() == "GGOG")
    first, second = listener.events[:2]
    assert isinstance(first, StreamGap)
    assert isinstance(second, StreamGap)
    assert first.since_ms == second.since_ms == 0


async def test_a_broken_handler_ends_the_run(venue: FakeVenue, exchange: BinanceExchange) -> None:
    async def broken(event: UserEvent) -> None:
        raise ArithmeticError("wrong")

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(5):
            await exchange.user_stream.run(broken)
    assert caught.group_contains(ArithmeticError)


async def test_the_user_stream_waits_for_an_absent_venue(venue: FakeVenue) -> None:
    exchange = await started(venue)
    listener = Listener()

    async def down(request: object, body: bytes) -> object:
        return answer({"code": -1001, "msg": "Internal error"}, 503)

    venue.script["POST", "/fapi/v1/listenKey"] = down  # type: ignore[assignment]
    async with running(exchange.user_stream.run(listener)):
        await until(lambda: exchange.statistics().user_stream.failures >= 2)
        venue.script.clear()
        await until(lambda: listener.kinds() == "G")
    await exchange.close()
