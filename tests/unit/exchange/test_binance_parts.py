"""Small parts of the adapter by themselves: clock offset, back-off, fragments, settings, placement."""

from decimal import Decimal
from random import Random
from typing import cast

import picows
import pytest

from pms.exchange.binance import BinanceExchange
from pms.exchange.binance.clock_sync import ClockSync
from pms.exchange.binance.config import BinanceConfig, StreamTuning
from pms.exchange.binance.parameters import placement
from pms.exchange.binance.sockets import MESSAGE_BYTES_MAX, Backoff, FrameListener
from pms.exchange.errors import ExchangeUnavailable
from pms.exchange.port import AccountView, MarketData, Trading, UserStream
from pms.model.ids import ClientOrderId
from pms.model.money import Quantity
from pms.model.order import ApprovedOrder, OrderSide, OrderType, SelfMatchPrevention, TimeInForce
from pms.model.symbol import Symbol


class Clock:
    """A clock that round trips move."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class SetClock(Clock):
    """A clock that somebody sets; the time that passes does not care."""

    set_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.set_ms


async def test_the_shortest_round_trip_gives_the_offset() -> None:
    clock = Clock()
    trips = iter([(0.30, 0.05), (0.02, 0.01), (0.10, 0.09)])

    async def read() -> int:
        there_and_back, there = next(trips)
        clock.seconds += there
        server_ms = clock.now_ms() + 500
        clock.seconds += there_and_back - there
        return server_ms

    sync = ClockSync(clock, read)
    await sync.measure()
    assert sync.offset_ms == 500
    assert sync.round_trip_ms == pytest.approx(20)
    assert sync.exchange_now_ms() == clock.now_ms() + 500


async def test_a_clock_that_was_set_is_noticed() -> None:
    clock = SetClock()

    async def read() -> int:
        return 1_000_500

    sync = ClockSync(clock, read)
    await sync.measure()
    clock.seconds += 3600
    assert not sync.stepped(), "time that passes is no step"
    clock.set_ms -= 60_000
    assert sync.stepped()
    await sync.measure()
    assert not sync.stepped()


async def test_a_failed_measurement_keeps_the_offset() -> None:
    async def read() -> int:
        raise ExchangeUnavailable("down")

    sync = ClockSync(Clock(), read)
    sync.offset_ms = 7
    with pytest.raises(ExchangeUnavailable):
        await sync.measure()
    assert sync.offset_ms == 7


def test_pauses_double_up_to_the_bound_and_start_anew_after_a_steady_connection() -> None:
    backoff = Backoff(StreamTuning(), Random(5))
    full = [0.5, 1, 2, 4, 8, 16, 30, 30]
    for longest in full:
        assert longest / 2 <= backoff.ended(0.0) <= longest
    assert 0.25 <= backoff.ended(10.0) <= 0.5
    twin = Backoff(StreamTuning(), Random(5))
    again = Backoff(StreamTuning(), Random(5))
    assert [twin.ended(0.0) for _ in full] == [again.ended(0.0) for _ in full], "a seed reproduces it"


class Frame:
    """What the listener reads of a frame."""

    def __init__(self, kind: picows.WSMsgType, payload: bytes, fin: bool = True) -> None:
        self.msg_type = kind
        self.fin = fin
        self._payload = payload

    def get_payload_as_memoryview(self) -> memoryview:
        return memoryview(self._payload)

    def get_close_code(self) -> picows.WSCloseCode:
        return picows.WSCloseCode.GOING_AWAY


class Transport:
    """Records what the listener does to the connection."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def send_close(self, code: picows.WSCloseCode) -> None:
        self.done.append("close")

    def disconnect(self, graceful: bool = True) -> None:
        self.done.append("disconnect")


def feed(*frames: Frame) -> tuple[list[bytes], list[str]]:
    messages: list[bytes] = []
    transport = Transport()
    listener = FrameListener(lambda message: messages.append(bytes(message)), lambda: None)
    for frame in frames:
        listener.on_ws_frame(cast("picows.WSTransport", transport), cast("picows.WSFrame", frame))
    return messages, transport.done


def test_fragments_are_joined() -> None:
    text, more = picows.WSMsgType.TEXT, picows.WSMsgType.CONTINUATION
    parts = [Frame(text, b"ab", fin=False), Frame(more, b"cd", fin=False), Frame(more, b"ef")]
    assert feed(*parts, Frame(text, b"next")) == ([b"abcdef", b"next"], [])


def test_an_endless_message_ends_the_connection() -> None:
    huge = Frame(picows.WSMsgType.TEXT, b"x" * (MESSAGE_BYTES_MAX + 1), fin=False)
    assert feed(huge) == ([], ["disconnect"])


def test_a_close_is_answered() -> None:
    assert feed(Frame(picows.WSMsgType.CLOSE, b"")) == ([], ["close", "disconnect"])


@pytest.mark.parametrize(
    "config", [BinanceConfig.production("k", "hidden"), BinanceConfig.testnet("k", "hidden")]
)
def test_the_secret_never_shows(config: BinanceConfig) -> None:
    assert "hidden" not in repr(config)
    assert config.api_secret.reveal() == "hidden"
    assert config.rest_url.startswith("https://")
    assert config.ws_private_url.startswith("wss://")
    assert config.ws_private_url.endswith("/private")


def test_addresses_of_any_venue() -> None:
    config = BinanceConfig.at("http://127.0.0.1:1/", "ws://127.0.0.1:1/")
    assert (config.rest_url, config.ws_public_url) == ("http://127.0.0.1:1", "ws://127.0.0.1:1/public")
    assert config.ws_market_url == "ws://127.0.0.1:1/market"
    assert config.recv_window_ms == 2000


def test_a_limit_order_without_a_price_is_a_fault_of_ours() -> None:
    order = ApprovedOrder(
        client_order_id=ClientOrderId("x"),
        symbol=Symbol("BTC/USDT:USDT"),
        side=OrderSide.BUY,
        type=OrderType.LIMIT,
        quantity=Quantity(Decimal(1)),
        price=None,
        time_in_force=TimeInForce.GTC,
        reduce_only_wire=False,
        self_match=SelfMatchPrevention.EXPIRE_MAKER,
        risk_reducing=True,
    )
    with pytest.raises(ValueError, match="no price"):
        placement(order, "BTCUSDT")


def test_the_parts_are_what_the_port_asks_for() -> None:
    exchange = BinanceExchange(BinanceConfig.at("http://127.0.0.1:1", "ws://127.0.0.1:1"), Clock(), Random(1))
    market: MarketData = exchange.market
    trading: Trading = exchange.trading
    account: AccountView = exchange.account
    user_stream: UserStream = exchange.user_stream
    assert all((market, trading, account, user_stream))
