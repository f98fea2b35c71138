"""The private stream: one owner, one listen key kept alive, events in order, and every gap announced.

1. After every connection a StreamGap comes first; live events wait until the handler has dealt with it.
2. Events are handed over one at a time, in the order of arrival; none is dropped silently (decision 22).
3. What cannot be read becomes a gap of its own, so that the truth is fetched by request.
4. The listen key is never deleted: it belongs to the account, and deleting it would cut others off.
5. A connection is replaced before the venue ends it: events of the next one are held while the old one still
   delivers, and what came on both is told once. That makes no gap, if the old one has shown that it was
   whole: it answered a ping after the next one was there, and an answer comes after all that was sent before.
6. Without the engine lease nothing is opened, and what is open ends (one owner, exchange spec 5.1).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import msgspec
import picows

from pms.exchange.binance.config import BinanceConfig
from pms.exchange.binance.convert import account_event, config_event, order_event
from pms.exchange.binance.rest import RestClient, Security
from pms.exchange.binance.sockets import Backoff, ConnectPacer, FrameListener, connect
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.binance.user_inbox import Event, Expected, Inbox, Item, Missed, Seen, Unreadable
from pms.exchange.errors import ExchangeError, ExchangeRefusal, ExchangeUnavailable, UnreadablePayload
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
from pms.exchange.port import (
    AccountConfigEvent,
    AccountEvent,
    OrderEvent,
    StreamGap,
    UserEvent,
    UserEventHandler,
)
from pms.model.clock import Clock
from pms.model.ids import ExchangeOrderId

log = logging.getLogger("pms.exchange.binance")

LISTEN_KEY_PATH = "/fapi/v1/listenKey"
NO_SUCH_KEY = -1125

_key_decoder = msgspec.json.Decoder(ListenKey)
_any_decoder = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class UserStreamStatistics:
    """Counters since start; `waiting` is the length of the buffer now.

    `silences` are connections given up because an order was confirmed and no event of it came; `repeated`
    events had been told before.
    """

    connected: bool
    connects: int
    failures: int
    rotations: int
    gaps: int
    delivered: int
    repeated: int
    hints: int
    notices: int
    unknown: int
    malformed: int
    overflows: int
    keys_lost: int
    silences: int
    waiting: int


@dataclass(slots=True)
class _Counts:
    connects: int = 0
    failures: int = 0
    rotations: int = 0
    gaps: int = 0
    delivered: int = 0
    hints: int = 0
    notices: int = 0
    unknown: int = 0
    malformed: int = 0
    overflows: int = 0
    keys_lost: int = 0
    silences: int = 0


@dataclass(slots=True, eq=False)
class _Link:
    """One open connection with its key; `held` are the events of one that has not taken over yet."""

    key: str
    transport: picows.WSTransport | None = None
    held: list[Item] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        return self.transport is not None and not self.transport.is_disconnected

    async def answers(self, seconds_max: float) -> bool:
        """Tell whether the venue answers a ping in time: then all that it has sent here before has come."""
        if self.transport is None or not self.alive:
            return False
        try:
            async with asyncio.timeout(seconds_max):
                await self.transport.measure_roundtrip_time(1)
        except (TimeoutError, ConnectionError):
            return False
        return True

    def close(self) -> None:
        if self.transport is not None:
            self.transport.disconnect(graceful=False)


class BinanceUserStream:
    """Implements `UserStream`. Only one `run` at a time."""

    def __init__(
        self,
        config: BinanceConfig,
        rest: RestClient,
        symbols: SymbolDirectory,
        clock: Clock,
        random: Random,
        pacer: ConnectPacer | None = None,
        lease_left_ms: Callable[[], int | None] | None = None,
    ) -> None:
        self._url = config.ws_private_url
        self._tuning = config.streams
        self._settle_asset = config.settle_asset
        self._rest = rest
        self._symbols = symbols
        self._clock = clock
        self._random = random
        self._pacer = pacer or ConnectPacer(config.streams, clock)
        self._lease_left_ms = lease_left_ms
        self._backoff = Backoff(config.streams, random)
        self._link: _Link | None = None
        self._next: _Link | None = None
        self._inbox = Inbox(config.streams.user_events_max)
        self._seen = Seen()
        self._whole_until_ms = 0
        self._asked_instead_at = float("-inf")
        self._heard_at = float("-inf")
        self._expected = Expected()
        self._counts = _Counts()

    def statistics(self) -> UserStreamStatistics:
        """Return the counters as they are now."""
        counts = self._counts
        return UserStreamStatistics(
            connected=self._link is not None and self._link.alive,
            connects=counts.connects,
            failures=counts.failures,
            rotations=counts.rotations,
            gaps=counts.gaps,
            delivered=counts.delivered,
            repeated=self._seen.repeated,
            hints=counts.hints,
            notices=counts.notices,
            unknown=counts.unknown,
            malformed=counts.malformed,
            overflows=counts.overflows,
            keys_lost=counts.keys_lost,
            silences=counts.silences,
            waiting=len(self._inbox),
        )

    def expect(self, order_id: ExchangeOrderId) -> None:
        """An order was confirmed: an event of it must come soon, or the stream is open and silent."""
        if self._link is not None:
            self._expected.expect(order_id, self._clock.monotonic())

    async def run(self, handler: UserEventHandler) -> None:
        """Deliver private events until cancelled.

        An ExchangeError out of `handler` ends the connection: the gap comes again, with the event in it.
        Any other exception ends `run`.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_key(), name="listen key")
            group.create_task(self._watch(), name="user stream watch")
            while True:
                started = self._clock.monotonic()
                try:
                    await self._connection(handler)
                except ExchangeError as error:
                    self._counts.failures += 1
                    log.warning("user stream: %s", error)
                await self._clock.sleep(self._backoff.ended(self._clock.monotonic() - started))

    # --- connections

    async def _connection(self, handler: UserEventHandler) -> None:
        inbox = self._inbox = Inbox(self._tuning.user_events_max)
        self._link = await self._opened()
        self._expected.forget()
        rotation = asyncio.create_task(self._rotate(), name="user stream rotation")
        try:
            await self._announce_gap(handler)
            while (item := await inbox.get()) is not None:
                together = inbox.together_with(item)
                if together:
                    await self._hand_over_together([item, *together], handler)
                else:
                    await self._hand_over(item, handler)
        finally:
            rotation.cancel()
            links = (self._link, self._next)
            self._link = self._next = None
            for link in links:
                if link is not None:
                    link.close()
            (ended,) = await asyncio.gather(rotation, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended
        log.warning("user stream: the connection ended")

    async def _opened(self) -> _Link:
        self._require_lease()
        await self._pacer.turn()
        # POST returns the account's active key and extends it, or makes one (Binance spec 2.6).
        answer = await self._rest.read(LISTEN_KEY_PATH, (), _key_decoder, Security.KEY, method="POST")
        link = _Link(answer.listen_key)
        listener = FrameListener(lambda message: self._take(message, link), lambda: self._ended(link))
        link.transport = await connect(f"{self._url}/ws/{link.key}", listener, self._tuning)
        if not link.alive:
            # Its end was told already, to nobody.
            raise ExchangeUnavailable("the private stream was ended as soon as it was open")
        self._counts.connects += 1
        self._heard_at = self._clock.monotonic()
        return link

    def _require_lease(self) -> None:
        if self._lease_lost():
            raise ExchangeUnavailable("the engine lease is not held; private events belong to its holder")

    def _lease_lost(self) -> bool:
        left_ms = None if self._lease_left_ms is None else self._lease_left_ms()
        return left_ms is not None and left_ms <= 0

    async def _rotate(self) -> None:
        while True:
            spread_seconds = self._random.random() * self._tuning.rotation_spread_seconds
            await self._clock.sleep(self._tuning.rotation_seconds_max - spread_seconds)
            while not await self._overlap():
                await self._clock.sleep(self._backoff.ended(0.0))

    # Both connections deliver for a while; then the next one takes over. False when there is none yet.
    async def _overlap(self) -> bool:
        try:
            link = self._next = await self._opened()
        except ExchangeError as error:
            log.warning("user stream: the next connection: %s", error)
            return False
        await self._clock.sleep(self._tuning.user_overlap_seconds)
        whole = self._link is not None and await self._link.answers(self._tuning.ping_reply_seconds_max)
        if self._next is link and link.alive:
            self._promote(whole=whole)
        return self._link is link

    # `whole`: the old connection has delivered all that came before the next one was there.
    def _promote(self, *, whole: bool) -> None:
        old, self._link, self._next = self._link, self._next, None
        self._counts.rotations += 1
        if self._link is not None:
            if not whole:
                self._accept(Missed("a connection ended before it had shown that all had come"))
            held, self._link.held = self._link.held, []
            for item in held:
                self._accept(item)
        if old is not None:
            old.close()

    # Runs when a connection ends, by whichever side.
    def _ended(self, link: _Link) -> None:
        if link is self._next:
            self._next = None
        elif link is self._link:
            if self._next is not None and self._next.alive:
                self._promote(whole=False)
            else:
                self._inbox.close()

    # --- events

    async def _announce_gap(self, handler: UserEventHandler) -> None:
        until_ms = self._rest.time.exchange_now_ms()
        self._counts.gaps += 1
        await handler(StreamGap(self._whole_until_ms, until_ms))
        self._whole_until_ms = until_ms

    async def _hand_over(self, item: Item, handler: UserEventHandler) -> None:
        if isinstance(item, Missed):
            log.warning("user stream: %s; asking by request", item.reason)
            await self._ask_instead(handler)
            return
        try:
            event = await self._translated(item)
        except UnreadablePayload as error:
            self._counts.malformed += 1
            log.error("user stream: an event cannot be read, asking by request instead: %s", error)
            await self._ask_instead(handler)
            return
        await handler(event)
        self._counts.delivered += 1
        self._whole_until_ms = max(self._whole_until_ms, event.transaction_time_ms)

    async def _hand_over_together(self, items: list[Item], handler: UserEventHandler) -> None:
        """Hand over events of different orders at once, begun in their order: their commits share a group.

        When one fails, nothing of them counts as handled: the gap that follows brings all of them again.
        """
        events: list[UserEvent] = []
        whole_until_ms = self._whole_until_ms
        for item in items:
            if isinstance(item, Missed):
                break
            try:
                event = await self._translated(item)
            except UnreadablePayload:
                break
            events.append(event)
            whole_until_ms = max(whole_until_ms, event.transaction_time_ms)
        results = await asyncio.gather(*(handler(event) for event in events), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            # What is not the exchange's ends the engine; it goes first.
            raise min(failed, key=lambda error: isinstance(error, ExchangeError))
        self._counts.delivered += len(events)
        self._whole_until_ms = whole_until_ms
        for item in items[len(events) :]:
            await self._hand_over(item, handler)

    # A gap costs requests for every symbol: events that nobody can read must not use up the limits.
    async def _ask_instead(self, handler: UserEventHandler) -> None:
        wait_seconds = self._asked_instead_at + self._tuning.gap_spacing_seconds - self._clock.monotonic()
        if wait_seconds > 0:
            await self._clock.sleep(wait_seconds)
        self._asked_instead_at = self._clock.monotonic()
        self._inbox.answered()
        await self._announce_gap(handler)

    async def _translated(self, item: Event | Unreadable) -> OrderEvent | AccountEvent | AccountConfigEvent:
        match item:
            case Unreadable():
                raise UnreadablePayload(item.reason)
            case OrderTradeUpdate():
                await self._symbols.know({item.order.symbol})
                return order_event(item, self._symbols)
            case AccountUpdate():
                await self._symbols.know({row.symbol for row in item.account.positions})
                return account_event(item, self._symbols, self._settle_asset)
            case AccountConfigUpdate():
                return config_event(item, self._symbols)

    # Runs in the socket's callback.
    def _take(self, message: memoryview, link: _Link) -> None:
        raw = bytes(message)
        self._heard_at = self._clock.monotonic()
        try:
            event = decode_user_event(raw)
        except msgspec.DecodeError as error:
            self._arrived(Unreadable(str(error)), link)
            return
        self._rest.census.user_event(event, raw)
        match event:
            case OrderTradeUpdate() | AccountUpdate():
                self._arrived(event, link)
            case AccountConfigUpdate():
                self._counts.notices += 1
                log.warning("leverage or asset mode of the real account was changed: %s", event)
                self._arrived(event, link)
            case ListenKeyExpired():
                # The socket stays open but silent from now on (Binance spec 5.1).
                if event.listen_key in ("", link.key):
                    self._lose_key()
            case TradeLite():
                self._counts.hints += 1
            case MarginCall():
                self._counts.notices += 1
                log.error("the exchange sends a margin call for the real account")
            case AlgoOrderUpdate() | ConditionalOrderReject() | StrategyUpdate() | GridUpdate():
                # We place none of these; one of somebody else's becomes an order with events of its own.
                self._counts.notices += 1
            case UnknownEvent():
                self._counts.unknown += 1

    def _arrived(self, item: Item, link: _Link) -> None:
        if link is self._next:
            # Told after what is still on its way on the old connection, so that the order stays.
            link.held.append(item)
            if len(link.held) >= self._tuning.user_events_max:
                self._promote(whole=False)
        else:
            self._accept(item)

    def _accept(self, item: Item) -> None:
        if isinstance(item, OrderTradeUpdate):
            self._expected.told(str(item.order.order_id))
        if not isinstance(item, Unreadable | Missed) and not self._seen.first(item):
            return
        if not self._inbox.put(item):
            self._counts.overflows += 1
            log.error("user stream: the buffer is full; connecting anew and asking by request")
            self._drop_connection()

    # --- the key, the lease and silence

    def _lose_key(self) -> None:
        self._counts.keys_lost += 1
        log.warning("user stream: the listen key is gone; getting another")
        self._drop_connection()

    def _drop_connection(self) -> None:
        for link in (self._next, self._link):
            if link is not None:
                link.close()

    async def _keep_key(self) -> None:
        wait_seconds = self._tuning.listen_key_seconds
        extended_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(min(wait_seconds, self._tuning.user_quiet_seconds))
            now = self._clock.monotonic()
            quiet = now - max(self._heard_at, extended_at) >= self._tuning.user_quiet_seconds
            if self._link is None or self._lease_lost() or (now - extended_at < wait_seconds and not quiet):
                # The connection extends the key itself; a quiet one is asked whether its key still lives.
                continue
            wait_seconds, extended_at = self._tuning.listen_key_seconds, now
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

    # A socket can stay open and say nothing: what shows it is an order that was confirmed without an event.
    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(self._tuning.watch_seconds)
            if self._link is None:
                continue
            if not self._link.alive:
                self._inbox.close()
            elif self._lease_lost():
                log.error("user stream: the engine lease is lost; the stream is left to its next holder")
                self._drop_connection()
            elif self._expected.overdue(self._clock.monotonic(), self._tuning.stale_seconds):
                self._expected.forget()
                self._counts.silences += 1
                log.error("user stream: open but silent: an order was confirmed and no event of it came")
                self._drop_connection()
