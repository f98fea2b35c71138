"""Plays the sources onto the markets: quotes, trades, marks and depth, stamped to now, matched, published.

It has no task of its own: somebody calls `advance`. Scripts may pin
a symbol's quote or mark (`set_quote`, `set_mark`) until `release`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

from pms.simulator import depth_recording
from pms.simulator.candle_history import CandleHistory
from pms.simulator.candle_source import CandleSource
from pms.simulator.candles import Candle, LiveCandles, point
from pms.simulator.core import Engine
from pms.simulator.depth_streams import DepthStreams
from pms.simulator.errors import SimulatorError
from pms.simulator.hub import Hub
from pms.simulator.market_payloads import Liquidation, MarkView
from pms.simulator.market_streams import MarketStreams, quote_of
from pms.simulator.recorded_book import RecordedBook, levels_of
from pms.simulator.relay import RelaySource
from pms.simulator.state import ZERO, Market, text
from pms.simulator.ticks import MARK, QUOTE, AnyTick, DepthTick, Source, Tick
from pms.simulator.trade_tape import SymbolTape

SLICE_SECONDS = 0.02
LAG_MS_MAX = 2000
MARK_DECIMALS = Decimal("0.00000001")
CANDLE_PHASE_MS = 1905 * 60_000  # a new exchange opens 12 minutes before the fall of LAYERUSDT
FUNDING_HOURS = 8
HOUR_MS = 3_600_000
AVERAGE_SECONDS = 30


class Feed:
    """The market side of the exchange. `funding_info` holds the rows of GET fundingInfo by symbol."""

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        sources: Sequence[Source],
        funding: Mapping[str, Sequence[tuple[int, str]]],
        origin_ms: int,
        speed: float,
        funding_info: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self._engine = engine
        self._sources = list(sources)
        self._origin_ms = origin_ms
        self._speed = speed if math.isfinite(speed) else 1.0
        self._funding_info = dict(funding_info or {})
        self.source_of = {symbol: source for source in sources for symbol in source.symbols}
        self.recorded_marks = frozenset(s for source in sources for s in source.recorded_marks)
        self.funding_rate = {symbol: rows[-1][1] for symbol, rows in funding.items() if rows}
        self.index: dict[str, str] = {}
        self.pinned_quotes: set[str] = set()
        self.pinned_marks: set[str] = set()
        self.tapes: dict[str, SymbolTape] = {}
        self.history = CandleHistory(self.source_of, self.position)
        self.mark_history = CandleHistory({}, self.position)
        self.index_history = CandleHistory({}, self.position)
        self.streams = MarketStreams(hub, engine.rules, engine.markets, self.history, self.tapes)
        self.depth = DepthStreams(hub, engine.rules, engine.markets, self._draw_update_id)
        self._positions = [0.0] * len(sources)
        self._mid_sums: dict[str, tuple[Decimal, int]] = {}
        self._averages: dict[str, Decimal] = {}
        self._stale_books: set[str] = set()
        self._last_second = 0
        self._now_ms = 0
        self._update_id = 0
        self.ticks = 0
        self.skipped_ms = 0
        for source in sources:
            for symbol in source.symbols:
                engine.markets[symbol].capped = source.modelled
                if symbol in source.deep:
                    engine.markets[symbol].book = RecordedBook()

    @property
    def live(self) -> LiveCandles:
        """The candles of what was really emitted."""
        return self.history.live

    # -- playing

    def position(self, source: Source, now_ms: float) -> float:
        """Return where the loop of a source stands: a function of time only, the same after a restart."""
        phase = CANDLE_PHASE_MS if isinstance(source, CandleSource) else 0
        return (now_ms - self._origin_ms) * self._speed + phase

    def prime(self, now_ms: int) -> None:
        """Give every replayed symbol its current quote, so that the exchange opens with prices."""
        for number, source in enumerate(self._sources):
            position = self.position(source, now_ms)
            self._positions[number] = position
            for book in source.books_at(position):
                self._play(book, now_ms)
            span = min(source.loop_ms, 120_000)
            latest = _latest(source, position - span, position)
            if set(source.quoted) - {s for kind, s in latest if kind == QUOTE}:
                latest = _latest(source, position - source.loop_ms, position)
            for tick in latest.values():
                self._play(tick, now_ms)
        self._last_second = now_ms // 1000
        self._mark_all(now_ms)

    def advance(self, now_ms: int) -> None:
        """Play everything that is due at a time; a stall is skipped, not caught up."""
        for number, source in enumerate(self._sources):
            end = self.position(source, now_ms)
            start = self._positions[number]
            if end <= start:
                continue
            allowed = LAG_MS_MAX * self._speed
            if end - start > allowed:
                self.skipped_ms += int(end - start - allowed)
                start = end - allowed
                self._stale_books |= source.deep
            self._positions[number] = end
            self._renew_books(source, start, now_ms)
            for tick in source.between(start, end):
                if tick.symbol not in self.pinned_quotes:
                    self._play(tick, now_ms)
                elif isinstance(tick, DepthTick):
                    self._stale_books.add(tick.symbol)
        self._publish_due(now_ms)

    def _renew_books(self, source: Source, position_ms: float, now_ms: int) -> None:
        """A book that missed events (a stall, a pinned quote) is taken whole again."""
        missed = self._stale_books & source.deep - self.pinned_quotes
        if not missed:
            return
        self._stale_books -= missed
        for book in source.books_at(position_ms):
            if book.symbol in missed:
                self._play(book, now_ms)

    def _publish_due(self, now_ms: int) -> None:
        self.streams.aggregates(now_ms)
        self.depth.flush(now_ms)
        second = now_ms // 1000
        if second != self._last_second:
            self._last_second = second
            self._mark_all(now_ms)
        self.streams.candles(now_ms)

    def _play(self, tick: AnyTick, now_ms: int) -> None:
        self.ticks += 1
        if isinstance(tick, DepthTick):
            self._depth(tick, now_ms)
        elif tick.kind == QUOTE:
            self._quote(tick.symbol, (tick.a, tick.b, tick.c, tick.d), now_ms)
        elif tick.kind == MARK:
            self.index[tick.symbol] = tick.b
            self.funding_rate[tick.symbol] = tick.d
            if tick.symbol not in self.pinned_marks:
                self._engine.markets[tick.symbol].mark = Decimal(tick.a)
        else:
            self._trade(tick, now_ms)

    def _draw_update_id(self) -> int:
        self._update_id = max(self._update_id + 1, self._now_ms * 1000)
        return self._update_id

    def _quote(self, symbol: str, quote: tuple[str, str, str, str], now_ms: int) -> None:
        market = self._engine.markets[symbol]
        self._engine.before_update(market)
        bid, bid_quantity, ask, ask_quantity = map(Decimal, quote)
        self._forget_taken(market, bid, ask)
        market.bid, market.bid_quantity, market.ask, market.ask_quantity = (
            bid,
            bid_quantity,
            ask,
            ask_quantity,
        )
        self._changed(market, now_ms)
        self.streams.quote(market, quote, now_ms)

    def _changed(self, market: Market, now_ms: int) -> None:
        """The best quote is another one: count it into the mark, and match."""
        self._now_ms = max(self._now_ms, now_ms)
        market.update_id = self._draw_update_id()
        market.time_ms = now_ms
        total, count = self._mid_sums.get(market.symbol, (ZERO, 0))
        self._mid_sums[market.symbol] = (total + market.mid, count + 1)
        if not market.mark:
            market.mark = market.mid
        if not market.last:
            market.last = self._engine.rules[market.symbol].traded_price(market)
        self._engine.quote(market, now_ms)

    def _forget_taken(self, market: Market, bid: Decimal, ask: Decimal) -> None:
        """Give back what was taken of levels that this quote updates (see `matching`)."""
        if not market.taken:
            return
        if market.capped:
            market.taken.clear()
            return
        for side, price in (("SELL", bid), ("BUY", ask)):
            market.taken.pop((side, price), None)
            if not market.deep:  # the ladder behind the quote is a new one
                for key in [k for k in market.taken if k[0] == side]:
                    del market.taken[key]

    def _depth(self, tick: DepthTick, now_ms: int) -> None:
        market = self._engine.markets[tick.symbol]
        if market.book is None:
            return
        self._engine.before_update(market)
        bids = levels_of(depth_recording.decode_rows(tick.bids))
        asks = levels_of(depth_recording.decode_rows(tick.asks))
        if tick.snapshot:
            market.taken.clear()
            market.book.replace(bids, asks)
        else:
            for side, levels in (("SELL", bids), ("BUY", asks)):
                for price, _ in levels:
                    market.taken.pop((side, price), None)
            market.book.apply(bids, asks)
        source = self.source_of[tick.symbol]
        best_bid, best_ask = market.book.bids.best(), market.book.asks.best()
        if tick.symbol not in source.quoted and best_bid and best_ask and best_bid[0] < best_ask[0]:
            quote = text(best_bid[0]), text(best_bid[1]), text(best_ask[0]), text(best_ask[1])
            self._quote(tick.symbol, quote, now_ms)
        else:
            self._engine.resting[tick.symbol].level_changed()

    def _trade(self, tick: Tick, now_ms: int) -> None:
        symbol, maker = tick.symbol, tick.c == "m"
        tape = self.tapes.get(symbol)
        if tape is None:
            tape = self.tapes[symbol] = SymbolTape(now_ms)
        if tape.breaks(tick.a, maker, now_ms):
            self.streams.aggregate(symbol, tape, now_ms)
        trade = tape.add(tick.a, tick.b, maker, now_ms)
        market = self._engine.markets[symbol]
        market.last = Decimal(tick.a)
        self._add_candle(symbol, now_ms, point(float(tick.a), float(tick.b), taker_buys=not maker))
        self._engine.public_trade(market, market.last, Decimal(tick.b), maker, now_ms)
        self.streams.trade(symbol, trade)

    # -- marks and funding

    def _mark_all(self, now_ms: int) -> None:
        """Once a second: the modelled marks (1 s average of the mid), and what is published with them."""
        sums, self._mid_sums = self._mid_sums, {}
        views: list[MarkView] = []
        for symbol, market in self._engine.markets.items():
            if not market.live or self._stale(symbol):
                continue
            averaged = sums.get(symbol)
            if averaged and symbol not in self.recorded_marks and symbol not in self.pinned_marks:
                market.mark = (averaged[0] / averaged[1]).quantize(MARK_DECIMALS)
            known = self._averages.get(symbol, market.mark)
            self._averages[symbol] = known + (market.mark - known) / AVERAGE_SECONDS
            view = self.mark_event(market, now_ms)
            self.mark_history.add(symbol, now_ms, point(float(view.mark_price), 0.0), False)
            self.index_history.add(symbol, now_ms, point(float(view.index_price), 0.0), False)
            views.append(view)
        self.streams.second(views, now_ms)

    def _stale(self, symbol: str) -> bool:
        """A mark that a relay has not heard of for long is not told as if it were new."""
        source = self.source_of.get(symbol)
        pinned = symbol in self.pinned_quotes or symbol in self.pinned_marks
        return isinstance(source, RelaySource) and not pinned and source.stale(symbol)

    def mark_event(self, market: Market, now_ms: int) -> MarkView:
        """Return the current mark price, index and funding of a symbol."""
        mark = f"{market.mark:.8f}"
        index = self.index.get(market.symbol) or mark
        return MarkView(
            symbol=market.symbol,
            mark_price=mark,
            average_price=f"{self._averages.get(market.symbol, market.mark):.8f}",
            index_price=index,
            settle_price=index,
            funding_rate=self.funding_rate.get(market.symbol, "0.00010000"),
            next_funding_time=self.next_funding_ms(market.symbol, now_ms),
        )

    def funding_hours(self, symbol: str) -> int:
        """Return the funding interval of a symbol in hours."""
        return int(str(self._funding_info.get(symbol, {}).get("fundingIntervalHours", FUNDING_HOURS)))

    def funding_info(self) -> list[Mapping[str, object]]:
        """Return the rows of GET fundingInfo for the symbols listed here."""
        return [row for symbol, row in self._funding_info.items() if symbol in self._engine.rules]

    def next_funding_ms(self, symbol: str, now_ms: int) -> int:
        """Return when the symbol's funding settles next (Unix ms)."""
        span = self.funding_hours(symbol) * HOUR_MS
        return (now_ms // span + 1) * span

    # -- candles

    def _add_candle(self, symbol: str, now_ms: int, candle: Candle) -> None:
        self.history.add(symbol, now_ms, candle, symbol not in self.pinned_quotes)

    def minute(self, symbol: str, minute_ms: int) -> Candle | None:
        """Return the one-minute candle: live when there is one, else the loop's own past."""
        return self.history.minute(symbol, minute_ms)

    # -- notices

    def publish_quote(self, market: Market, now_ms: int) -> None:
        """Publish the quote of a market again, although it has not changed."""
        self.streams.quote(market, quote_of(market), now_ms)

    def publish_liquidation(self, order: Liquidation) -> None:
        """Tell everybody of an order by which the exchange closes a position (forceOrder)."""
        self.streams.liquidation(order)

    # -- scripts

    def set_quote(
        self,
        symbol: str,
        bid: Decimal,
        ask: Decimal,
        bid_quantity: Decimal,
        ask_quantity: Decimal,
        now_ms: int,
    ) -> None:
        """Pin the quote; the mark follows to the mid at once unless it is pinned. Raises `SimulatorError`."""
        market = self._engine.markets.get(symbol)
        numbers = (bid, ask, bid_quantity, ask_quantity)
        if market is None:
            raise SimulatorError(f"The symbol {symbol} is not listed here.")
        if (
            not all(n.is_finite() for n in numbers)
            or not 0 < bid < ask
            or min(bid_quantity, ask_quantity) < 0
        ):
            raise SimulatorError(f"The quote {bid} / {ask} for {symbol} is impossible: 0 < bid < ask.")
        self._engine.before_update(market)
        self.pinned_quotes.add(symbol)
        market.scripted = market.capped = True
        market.taken.clear()
        self._mid_sums.pop(symbol, None)
        self._quote(symbol, (text(bid), text(bid_quantity), text(ask), text(ask_quantity)), now_ms)
        self._mid_sums.pop(symbol, None)
        market.last = self._engine.rules[symbol].traded_price(market)
        self._add_candle(symbol, now_ms, point(float(market.last), 0.0))
        if symbol not in self.pinned_marks:
            market.mark = market.mid
        self.streams.mark(self.mark_event(market, now_ms), now_ms, always=True)

    def set_mark(self, symbol: str, price: Decimal, now_ms: int) -> None:
        """Pin the mark price and publish it at once. Raises `SimulatorError`."""
        market = self._engine.markets.get(symbol)
        if market is None or not price.is_finite() or price <= 0:
            raise SimulatorError(f"The mark {price} for {symbol} is impossible, or the symbol not listed.")
        self.pinned_marks.add(symbol)
        market.mark = price
        self.streams.mark(self.mark_event(market, now_ms), now_ms, always=True)

    def release(self, symbol: str | None) -> None:
        """Let the replay drive a symbol (None: all) again."""
        released = set(self._engine.markets) if symbol is None else {symbol}
        for name in released & self.pinned_quotes:
            market = self._engine.markets[name]
            market.scripted = False
            source = self.source_of.get(name)
            market.capped = source is None or source.modelled
            self._stale_books.add(name)
        self.pinned_quotes -= released
        self.pinned_marks -= released

    def statistics(self) -> dict[str, int]:
        """Return counters: ticks played, replay time skipped after stalls (ms), symbols with a price."""
        live = sum(market.live for market in self._engine.markets.values())
        return {
            "ticks": self.ticks,
            "skipped_ms": self.skipped_ms,
            "live_symbols": live,
            "depth_events": self.depth.events,
        }


def _latest(source: Source, start_ms: float, end_ms: float) -> dict[tuple[int, str], Tick]:
    ticks = source.between(start_ms, end_ms)
    return {(t.kind, t.symbol): t for t in ticks if not isinstance(t, DepthTick)}
