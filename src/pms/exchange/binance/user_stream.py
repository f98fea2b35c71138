"""The private stream: one listen key kept alive, one socket, events in order, and every gap announced.

1. After every connection a StreamGap comes first; live events wait until the handler has dealt with it.
2. Events are handed over one at a time, in the order of arrival; none is dropped silently (decision 22).
3. What cannot be read becomes a gap of its own, so that the truth is fetched by request.
4. The listen key is never deleted: it belongs to the account, and deleting it would cut others off.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from random import Random

import msgspec
import picows

from pms.exchange.binance.config import BinanceConfig
from pms.exchange.binance.convert import account_event, order_event
from pms.exchange.binance.rest import RestClient, Security
from pms.exchange.binance.sockets import Backoff, FrameListener, connect
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.errors import ExchangeError, ExchangeRefusal, UnreadablePayload
from pms.exchange.messages import (
    AccountConfigUpdate,
    AccountUpdate,
    AlgoOrderUpdate,
    ConditionalOrderReject,
    GridUpdate,
    ListenKey,
    ListenKeyExpired,
    MarginCall,
    OrderTradeUpdate,
    StrategyUpdate,
    TradeLite,
    UnknownEvent,
    decode_user_event,
)
from pms.exchange.port import AccountEvent, OrderEvent, StreamGap, UserEventHandler
from pms.model.clock import Clock

log = logging.getLogger("pms.exchange.binance")

LISTEN_KEY_PATH = "/fapi/v1/listenKey"
NO_SUCH_KEY = -1125

_key_decoder = msgspec.json.Decoder(ListenKey)
_any_decoder = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class UserStreamStatistics:
    """Counters since start; `waiting` is the length of the buffer now."""

    connected: bool
    connects: int
    failures: int
    gaps: int
    delivered: int
    hints: int
    notices: int
    unknown: int
    malformed: int
    overflows: int
    keys_lost: int
    waiting: int


@dataclass(frozen=True, slots=True)
class _Unreadable:
    reason: str


_Item = OrderTradeUpdate | AccountUpdate | _Unreadable


class _Inbox:
    """Events of one connection. A full one is emptied and ends: the gap of the next connection covers it."""

    def __init__(self, bound: int) -> None:
        self._items: deque[_Item] = deque()
        self._bound = bound
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, item: _Item) -> bool:
        """Take an item; False when the inbox is full, which ends it."""
        if self._closed:
            return True
        if len(self._items) >= self._bound:
            self._items.clear()
            self.close()
            return False
        self._items.append(item)
        self._changed.set()
        return True

    def close(self) -> None:
        """Take no more; what is there can still be got."""
        self._closed = True
        self._changed.set()

    async def get(self) -> _Item | None:
        """Return the next item, or None at the end."""
        while not self._items:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)


class BinanceUserStream:
    """Implements `UserStream`. Only one `run` at a time."""

    def __init__(
        self, config: BinanceConfig, rest: RestClient, symbols: SymbolDirectory, clock: Clock, random: Random
    ) -> None:
        self._url = config.ws_private_url
        self._tuning = config.streams
        self._settle_asset = config.settle_asset
        self._rest = rest
        self._symbols = symbols
        self._clock = clock
        self._backoff = Backoff(config.streams, random)
        self._transport: picows.WSTransport | None = None
        self._inbox = _Inbox(config.streams.user_events_max)
        self._whole_until_ms = 0
        self._connects = self._failures = self._gaps = self._delivered = self._hints = self._notices = 0
        self._unknown = self._malformed = self._overflows = self._keys_lost = 0

    def statistics(self) -> UserStreamStatistics:
        """Return the counters as they are now."""
        return UserStreamStatistics(
            self._transport is not None,
            self._connects,
            self._failures,
            self._gaps,
            self._delivered,
            self._hints,
            self._notices,
            self._unknown,
            self._malformed,
            self._overflows,
            self._keys_lost,
            len(self._inbox),
        )

    async def run(self, handler: UserEventHandler) -> None:
        """Deliver private events until cancelled.

        An ExchangeError out of `handler` ends the connection: the gap comes again, with the event in it.
        Any other exception ends `run`.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_key(), name="listen key")
            while True:
                started = self._clock.monotonic()
                try:
                    await self._connection(handler)
                except ExchangeError as error:
                    self._failures += 1
                    log.warning("user stream: %s", error)
                await self._clock.sleep(self._backoff.ended(self._clock.monotonic() - started))

    async def _connection(self, handler: UserEventHandler) -> None:
        # POST returns the account's active key and extends it, or makes one (Binance spec 2.6).
        key = await self._rest.read(LISTEN_KEY_PATH, (), _key_decoder, Security.KEY, method="POST")
        inbox = self._inbox = _Inbox(self._tuning.user_events_max)
        listener = FrameListener(lambda message: self._take(message, inbox), inbox.close)
        transport = await connect(f"{self._url}/ws/{key.listen_key}", listener, self._tuning)
        self._connects += 1
        self._transport = transport
        try:
            await self._announce_gap(handler)
            while (item := await inbox.get()) is not None:
                await self._hand_over(item, handler)
        finally:
            self._transport = None
            transport.disconnect(graceful=False)
        log.warning("user stream: the connection ended")

    async def _announce_gap(self, handler: UserEventHandler) -> None:
        until_ms = self._rest.time.exchange_now_ms()
        self._gaps += 1
        await handler(StreamGap(self._whole_until_ms, until_ms))
        self._whole_until_ms = until_ms

    async def _hand_over(self, item: _Item, handler: UserEventHandler) -> None:
        try:
            event = await self._translated(item)
        except UnreadablePayload as error:
            self._malformed += 1
            log.error("user stream: an event cannot be read, asking by request instead: %s", error)
            await self._announce_gap(handler)
            return
        await handler(event)
        self._delivered += 1
        self._whole_until_ms = max(self._whole_until_ms, event.transaction_time_ms)

    async def _translated(self, item: _Item) -> OrderEvent | AccountEvent:
        match item:
            case _Unreadable():
                raise UnreadablePayload(item.reason)
            case OrderTradeUpdate():
                await self._symbols.know({item.order.symbol})
                return order_event(item, self._symbols)
            case AccountUpdate():
                await self._symbols.know({row.symbol for row in item.account.positions})
                return account_event(item, self._symbols, self._settle_asset)

    # Runs in the socket's callback.
    def _take(self, message: memoryview, inbox: _Inbox) -> None:
        raw = bytes(message)
        try:
            event = decode_user_event(raw)
        except msgspec.DecodeError as error:
            self._put(_Unreadable(str(error)), inbox)
            return
        self._rest.census.user_event(event, raw)
        match event:
            case OrderTradeUpdate() | AccountUpdate():
                self._put(event, inbox)
            case ListenKeyExpired():
                # The socket stays open but silent from now on (Binance spec 5.1).
                self._lose_key()
            case TradeLite():
                self._hints += 1
            case MarginCall():
                self._notices += 1
                log.error("the exchange sends a margin call for the real account")
            case AccountConfigUpdate():
                self._notices += 1
                log.warning("leverage or asset mode of the real account was changed: %s", event)
            case AlgoOrderUpdate() | ConditionalOrderReject() | StrategyUpdate() | GridUpdate():
                # We place none of these; one of somebody else's becomes an order with events of its own.
                self._notices += 1
            case UnknownEvent():
                self._unknown += 1

    def _put(self, item: _Item, inbox: _Inbox) -> None:
        if not inbox.put(item):
            self._overflows += 1
            log.error("user stream: the buffer is full; connecting anew and asking by request")
            self._drop_connection()

    def _lose_key(self) -> None:
        self._keys_lost += 1
        log.warning("user stream: the listen key is gone; getting another")
        self._drop_connection()

    def _drop_connection(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    async def _keep_key(self) -> None:
        wait_seconds = self._tuning.listen_key_seconds
        while True:
            await self._clock.sleep(wait_seconds)
            wait_seconds = self._tuning.listen_key_seconds
            if self._transport is None:
                continue
            try:
                await self._rest.read(LISTEN_KEY_PATH, (), _any_decoder, Security.KEY, method="PUT")
            except ExchangeRefusal as refusal:
                if refusal.code == NO_SUCH_KEY:
                    self._lose_key()
                else:
                    log.error("the listen key cannot be kept alive: %s", refusal)
            except ExchangeError as error:
                log.warning("the listen key cannot be kept alive now: %s", error)
                wait_seconds = self._tuning.listen_key_retry_seconds
