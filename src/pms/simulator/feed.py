"""Plays the sources onto the markets and the streams: quotes, trades, marks and candles, stamped to now.

It has no task of its own: somebody calls `advance`. Scripts may pin
a symbol's quote or mark (`set_quote`, `set_mark`) until `release`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from pms.exchange import messages as wire
from pms.simulator.candles import INTERVAL_MS, Candle, LiveCandles, joined, point
from pms.simulator.core import Engine
from pms.simulator.errors import SimulatorError
from pms.simulator.hub import Hub
from pms.simulator.replay import MARK, QUOTE, Source, Tick
from pms.simulator.state import Market, text

SLICE_SECONDS = 0.02
LAG_MS_MAX = 2000
MARK_DECIMALS = Decimal("0.00000001")
CANDLE_PHASE_MS = 1905 * 60_000  # a new exchange opens 12 minutes before the fall of LAYERUSDT
FUNDING_MS = 8 * 3_600_000
_encode = msgspec.json.Encoder().encode


class Feed:
    """The market side of the exchange."""

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        sources: Sequence[Source],
        funding: Mapping[str, Sequence[tuple[int, str]]],
        origin_ms: int,
        speed: float,
    ) -> None:
        self._engine = engine
        self._hub = hub
        self._sources = sources
        self._origin_ms = origin_ms
        self._speed = speed
        self.source_of = {symbol: source for source in sources for symbol in source.symbols}
        self.recorded_marks = frozenset(s for source in sources for s in source.recorded_marks)
        self.funding_rate = {symbol: rows[-1][1] for symbol, rows in funding.items() if rows}
        self.index: dict[str, str] = {}
        self.last_trade: dict[str, tuple[str, str, int, int]] = {}
        self.pinned_quotes: set[str] = set()
        self.pinned_marks: set[str] = set()
        self.live = LiveCandles()
        self._positions = [0.0] * len(sources)
        self._mid_sums: dict[str, tuple[Decimal, int]] = {}
        self._last_second = 0
        self._update_id = 0
        self._trade_id = 0
        self.ticks = 0
        self.skipped_ms = 0

    # -- playing

    def position(self, source: Source, now_ms: int) -> float:
        """Return where the loop of a source stands: a function of time only, the same after a restart."""
        phase = CANDLE_PHASE_MS if source.modelled else 0
        return (now_ms - self._origin_ms) * self._speed + phase

    def prime(self, now_ms: int) -> None:
        """Give every replayed symbol its current quote, so that the exchange opens with prices."""
        for number, source in enumerate(self._sources):
            position = self.position(source, now_ms)
            self._positions[number] = position
            span = min(source.loop_ms, 120_000)
            latest = {(t.kind, t.symbol): t for t in source.between(position - span, position)}
            missing = set(source.symbols) - {s for kind, s in latest if kind == QUOTE}
            if missing:
                everything = source.between(position - source.loop_ms, position)
                latest = {(t.kind, t.symbol): t for t in everything}
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
            self._positions[number] = end
            for tick in source.between(start, end):
                if tick.symbol not in self.pinned_quotes:
                    self._play(tick, now_ms)
        second = now_ms // 1000
        if second != self._last_second:
            self._last_second = second
            self._mark_all(now_ms)

    def _play(self, tick: Tick, now_ms: int) -> None:
        self.ticks += 1
        if tick.kind == QUOTE:
            self._quote(tick.symbol, (tick.a, tick.b, tick.c, tick.d), now_ms)
        elif tick.kind == MARK:
            self.index[tick.symbol] = tick.b
            self.funding_rate[tick.symbol] = tick.d
            if tick.symbol not in self.pinned_marks:
                self._engine.markets[tick.symbol].mark = Decimal(tick.a)
        else:
            self._trade(tick, now_ms)

    def _quote(self, symbol: str, quote: tuple[str, str, str, str], now_ms: int) -> None:
        market = self._engine.markets[symbol]
        market.bid, market.bid_quantity, market.ask, market.ask_quantity = map(Decimal, quote)
        self._update_id = market.update_id = max(self._update_id + 1, now_ms * 1000)
        market.time_ms = now_ms
        total, count = self._mid_sums.get(symbol, (Decimal(0), 0))
        self._mid_sums[symbol] = (total + market.mid, count + 1)
        if not market.mark:
            market.mark = market.mid
        self._engine.quote(market, now_ms)
        stream = f"{symbol.lower()}@bookTicker"
        if self._hub.wants("public", stream):
            event = wire.BookTickerEvent(
                market.update_id, symbol, *quote, now_ms, now_ms, wire.USDT_MARGINED, symbol
            )
            self._hub.publish("public", stream, _encode(event), conflate=True)

    def _trade(self, tick: Tick, now_ms: int) -> None:
        self._trade_id = max(self._trade_id + 1, now_ms * 100)
        self.last_trade[tick.symbol] = (tick.a, tick.b, now_ms, self._trade_id)
        self._add_candle(tick.symbol, now_ms, point(float(tick.a), float(tick.b)))
        name, maker = tick.symbol.lower(), tick.c == "m"
        if self._hub.wants("market", f"{name}@aggTrade"):
            number = self._trade_id
            event = wire.AggTradeEvent(
                now_ms, tick.symbol, number, tick.a, tick.b, number, number, now_ms, maker, wire.USDT_MARGINED
            )
            self._hub.publish("market", f"{name}@aggTrade", _encode(event), conflate=False)
        if self._hub.wants("public", f"{name}@trade"):
            trade = wire.TradeEvent(
                now_ms, now_ms, tick.symbol, self._trade_id, tick.a, tick.b, "MARKET", maker
            )
            self._hub.publish("public", f"{name}@trade", _encode(trade), conflate=False)

    # -- marks

    def _mark_all(self, now_ms: int) -> None:
        """Once a second: the modelled marks (1 s average of the mid), the mark streams, the candles."""
        sums, self._mid_sums = self._mid_sums, {}
        every: list[wire.MarkPriceEvent] = []
        for symbol, market in self._engine.markets.items():
            if not market.live:
                continue
            averaged = sums.get(symbol)
            if averaged and symbol not in self.recorded_marks and symbol not in self.pinned_marks:
                market.mark = (averaged[0] / averaged[1]).quantize(MARK_DECIMALS)
            event = self.mark_event(market, now_ms)
            every.append(event)
            self._publish_mark(event, now_ms)
            self._publish_candles(symbol, now_ms)
        if every:
            frame = _encode(every)
            self._hub.publish("market", "!markPrice@arr@1s", frame, conflate=True)
            if now_ms // 1000 % 3 == 0:
                self._hub.publish("market", "!markPrice@arr", frame, conflate=True)
        if now_ms // 1000 % 5 == 0 and self._hub.wants("public", "!bookTicker"):
            self._publish_all_quotes(now_ms)

    def _publish_all_quotes(self, now_ms: int) -> None:
        for market in self._engine.markets.values():
            if market.live:
                event = wire.BookTickerEvent(
                    update_id=market.update_id,
                    symbol=market.symbol,
                    bid_price=text(market.bid),
                    bid_quantity=text(market.bid_quantity),
                    ask_price=text(market.ask),
                    ask_quantity=text(market.ask_quantity),
                    transaction_time=now_ms,
                    event_time=now_ms,
                    symbol_type=wire.USDT_MARGINED,
                    pair=market.symbol,
                )
                self._hub.publish("public", "!bookTicker", _encode(event), conflate=False)

    def mark_event(self, market: Market, now_ms: int) -> wire.MarkPriceEvent:
        """Return the current mark price message of a symbol."""
        mark = f"{market.mark:.8f}"
        return wire.MarkPriceEvent(
            event_time=now_ms,
            symbol=market.symbol,
            mark_price=mark,
            average_price=mark,
            index_price=self.index.get(market.symbol) or mark,
            settle_price=mark,
            funding_rate=self.funding_rate.get(market.symbol, "0.00010000"),
            next_funding_time=(now_ms // FUNDING_MS + 1) * FUNDING_MS,
            symbol_type=wire.USDT_MARGINED,
        )

    def _publish_mark(self, event: wire.MarkPriceEvent, now_ms: int, always: bool = False) -> None:
        name = f"{event.symbol.lower()}@markPrice"
        if self._hub.wants("market", name + "@1s"):
            self._hub.publish("market", name + "@1s", _encode(event), conflate=True)
        if (always or now_ms // 1000 % 3 == 0) and self._hub.wants("market", name):
            self._hub.publish("market", name, _encode(event), conflate=True)

    # -- candles

    def _add_candle(self, symbol: str, now_ms: int, candle: Candle) -> None:
        minute = now_ms // 60_000 * 60_000
        if not self.live.has(symbol, minute):
            source = self.source_of.get(symbol)
            if source is not None and symbol not in self.pinned_quotes and now_ms - minute > 1000:
                start, end = self.position(source, minute), self.position(source, now_ms)
                self.live.add(symbol, minute, source.history[symbol].between(start, end))
        self.live.add(symbol, minute, candle)

    def minute(self, symbol: str, minute_ms: int) -> Candle | None:
        """Return the one-minute candle: live when there is one, else the loop's own past."""
        known = self.live.get(symbol, minute_ms)
        if known is not None:
            return known
        source = self.source_of.get(symbol)
        if source is None:
            return None
        start = self.position(source, minute_ms)
        return source.history[symbol].between(start, start + 60_000 * self._speed)

    def candle(self, symbol: str, open_ms: int, interval_ms: int, now_ms: int) -> Candle | None:
        """Return the candle of any interval, up to now when it is still running."""
        end = min(open_ms + interval_ms, now_ms // 60_000 * 60_000 + 60_000)
        parts = [self.minute(symbol, minute) for minute in range(open_ms, end, 60_000)]
        found = [part for part in parts if part is not None]
        return joined(found) if found else None

    def _publish_candles(self, symbol: str, now_ms: int) -> None:
        for interval in self._hub.kline_intervals(symbol):
            span = INTERVAL_MS.get(interval)
            if span is None:
                continue
            opened = now_ms // span * span
            if now_ms - opened < 1000:
                self._publish_candle(symbol, interval, opened - span, now_ms, closed=True)
            self._publish_candle(symbol, interval, opened, now_ms, closed=False)

    def _publish_candle(self, symbol: str, interval: str, open_ms: int, now_ms: int, closed: bool) -> None:
        span = INTERVAL_MS[interval]
        candle = self.candle(symbol, open_ms, span, now_ms)
        if candle is None:
            return
        shown = [self.price_text(symbol, price) for price in candle[:4]]
        body = wire.Kline(
            open_time=open_ms,
            close_time=open_ms + span - 1,
            symbol=symbol,
            interval=interval,
            open=shown[0],
            high=shown[1],
            low=shown[2],
            close=shown[3],
            volume=f"{candle.volume:.3f}",
            trades=candle.trades,
            closed=closed,
            quote_volume=f"{candle.volume * (candle.open + candle.close) / 2:.5f}",
        )
        event = wire.KlineEvent(now_ms, symbol, body)
        stream = f"{symbol.lower()}@kline_{interval}"
        self._hub.publish("market", stream, _encode(event), conflate=not closed)

    def price_text(self, symbol: str, price: float) -> str:
        """Return a price with the decimals of the symbol's tick."""
        exponent = self._engine.rules[symbol].price.step.normalize().as_tuple().exponent
        return f"{price:.{max(0, -int(exponent))}f}"

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
        self.pinned_quotes.add(symbol)
        self._mid_sums.pop(symbol, None)
        self._quote(symbol, (text(bid), text(bid_quantity), text(ask), text(ask_quantity)), now_ms)
        self._mid_sums.pop(symbol, None)
        self._add_candle(symbol, now_ms, point(float(market.mid), 0.0))
        if symbol not in self.pinned_marks:
            market.mark = market.mid
        self._publish_mark(self.mark_event(market, now_ms), now_ms, always=True)

    def set_mark(self, symbol: str, price: Decimal, now_ms: int) -> None:
        """Pin the mark price and publish it at once. Raises `SimulatorError`."""
        market = self._engine.markets.get(symbol)
        if market is None or not price.is_finite() or price <= 0:
            raise SimulatorError(f"The mark {price} for {symbol} is impossible, or the symbol not listed.")
        self.pinned_marks.add(symbol)
        market.mark = price
        self._publish_mark(self.mark_event(market, now_ms), now_ms, always=True)

    def release(self, symbol: str | None) -> None:
        """Let the replay drive a symbol (None: all) again."""
        if symbol is None:
            self.pinned_quotes.clear()
            self.pinned_marks.clear()
        self.pinned_quotes.discard(symbol or "")
        self.pinned_marks.discard(symbol or "")

    def statistics(self) -> dict[str, int]:
        """Return counters: ticks played, replay time skipped after stalls (ms), symbols with a price."""
        live = sum(market.live for market in self._engine.markets.values())
        return {"ticks": self.ticks, "skipped_ms": self.skipped_ms, "live_symbols": live}
