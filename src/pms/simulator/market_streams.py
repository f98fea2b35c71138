"""Publishes everything of a market that is not the book: trades, marks, candles, 24-hour figures, notices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from pms.simulator import market_payloads as payloads
from pms.simulator.candle_history import CandleHistory
from pms.simulator.candles import INTERVAL_MS, closing, opening
from pms.simulator.hub import Hub
from pms.simulator.market_payloads import CandleView, DayView, Liquidation, MarkView
from pms.simulator.rules import SymbolRules
from pms.simulator.state import Market, text
from pms.simulator.trade_tape import PublicTrade, SymbolTape

DAY_MS = 86_400_000
CANDLE_MS = 250
LIQUIDATIONS_MAX = 1000
ASSET_ARRAY = "!assetIndex@arr"


def quote_of(market: Market) -> tuple[str, str, str, str]:
    """Return bid, bid quantity, ask and ask quantity as texts."""
    return text(market.bid), text(market.bid_quantity), text(market.ask), text(market.ask_quantity)


class MarketStreams:
    """The market streams of one exchange. Nothing is encoded that nobody reads."""

    def __init__(
        self,
        hub: Hub,
        rules: Mapping[str, SymbolRules],
        markets: Mapping[str, Market],
        history: CandleHistory,
        tapes: Mapping[str, SymbolTape],
    ) -> None:
        self._hub = hub
        self._rules = rules
        self._markets = markets
        self._history = history
        self._tapes = tapes
        self._liquidations: dict[str, Liquidation] = {}
        self._shown_day: dict[str, int] = {}
        self._candles_ms = 0
        self._asset_streams: tuple[str, ...] = ()
        self._asset_rows: Callable[[int], list[payloads.Payload]] = lambda now_ms: []

    def index_assets(self, assets: Iterable[str], rows: Callable[[int], list[payloads.Payload]]) -> None:
        """Name the assets of multi-assets mode and say who prices them at a time (Unix ms)."""
        self._asset_streams = (ASSET_ARRAY, *(f"{asset.lower()}usd@assetIndex" for asset in assets))
        self._asset_rows = rows

    # -- events of one symbol

    def quote(self, market: Market, quote: tuple[str, str, str, str], now_ms: int) -> None:
        """Publish bookTicker."""
        stream = f"{market.symbol.lower()}@bookTicker"
        if self._hub.wants("public", stream):
            event = payloads.book_ticker(market.symbol, market.update_id, quote, now_ms)
            self._hub.publish("public", stream, payloads.encode(event), conflate=True)

    def trade(self, symbol: str, trade: PublicTrade) -> None:
        """Publish trade."""
        stream = f"{symbol.lower()}@trade"
        if self._hub.wants("public", stream):
            event = payloads.trade(
                symbol, trade.number, trade.price, trade.quantity, trade.buyer_is_maker, trade.time_ms
            )
            self._hub.publish("public", stream, payloads.encode(event), conflate=False)

    def aggregates(self, now_ms: int) -> None:
        """Publish aggTrade of every symbol whose last 100 ms are over."""
        for symbol, tape in self._tapes.items():
            if tape.due(now_ms):
                self.aggregate(symbol, tape, now_ms)

    def aggregate(self, symbol: str, tape: SymbolTape, now_ms: int) -> None:
        """End the open aggregate of a symbol and publish it."""
        ended = tape.close()
        stream = f"{symbol.lower()}@aggTrade"
        if self._hub.wants("market", stream):
            event = ended.payload(symbol, now_ms)
            self._hub.publish("market", stream, payloads.encode(event), conflate=False)

    def liquidation(self, order: Liquidation) -> None:
        """Take a liquidation order; the largest of each symbol and second is published."""
        known = self._liquidations.get(order.symbol)
        if known is None and len(self._liquidations) >= LIQUIDATIONS_MAX:
            return
        if known is None or Decimal(known.quantity) < Decimal(order.quantity):
            self._liquidations[order.symbol] = order

    def contract_info(self, rules: SymbolRules, now_ms: int, with_brackets: bool = False) -> None:
        """Publish !contractInfo: a symbol was listed, or its status or brackets changed."""
        event = payloads.contract_info(rules, now_ms, with_brackets)
        self._hub.publish("market", "!contractInfo", payloads.encode(event), conflate=False)

    def mark(self, view: MarkView, now_ms: int, always: bool = False) -> None:
        """Publish markPriceUpdate of one symbol: every second, or every third one without `@1s`."""
        name = f"{view.symbol.lower()}@markPrice"
        third = always or now_ms // 1000 % 3 == 0
        wanted = [s for s in (name + "@1s", name) if self._hub.wants("market", s)]
        if wanted:
            encoded = payloads.encode(payloads.mark_price(view, now_ms))
            for stream in wanted:
                if third or stream != name:
                    self._hub.publish("market", stream, encoded, conflate=True)

    # -- periodic

    def second(self, marks: list[MarkView], now_ms: int) -> None:
        """Publish what comes once a second or less often."""
        second = now_ms // 1000
        for view in marks:
            self.mark(view, now_ms)
        self._mark_array(marks, second, now_ms)
        if second % 5 == 0 and self._hub.wants("public", "!bookTicker"):
            self._all_quotes(now_ms)
        self._force_orders(now_ms)
        self._day_figures(second, now_ms)
        self._asset_indices(now_ms)

    def _asset_indices(self, now_ms: int) -> None:
        if not any(self._hub.wants("market", name) for name in self._asset_streams):
            return
        events = [payloads.asset_index(row, now_ms) for row in self._asset_rows(now_ms)]
        for event in events:
            self._hub.publish("market", f"{event['s'].lower()}@assetIndex", payloads.encode(event), True)
        if events:
            self._hub.publish("market", ASSET_ARRAY, payloads.encode(events), conflate=True)

    def _mark_array(self, marks: list[MarkView], second: int, now_ms: int) -> None:
        names = ["!markPrice@arr@1s"] + (["!markPrice@arr"] if second % 3 == 0 else [])
        wanted = [name for name in names if self._hub.wants("market", name)]
        if not wanted or not marks:
            return
        stocks = [m for m in marks if self._rules[m.symbol].info.contract_type == "TRADIFI_PERPETUAL"]
        others = [m for m in marks if m not in stocks]
        for group in (others, stocks):  # TradFi symbols come in a message of their own (spec 4.2)
            if group:
                frame = payloads.encode([payloads.mark_price(view, now_ms) for view in group])
                for name in wanted:
                    self._hub.publish("market", name, frame, conflate=not stocks)

    def _all_quotes(self, now_ms: int) -> None:
        for market in self._markets.values():
            if market.live:
                quote = quote_of(market)
                event = payloads.book_ticker(market.symbol, market.update_id, quote, now_ms)
                self._hub.publish("public", "!bookTicker", payloads.encode(event), conflate=False)

    def _force_orders(self, now_ms: int) -> None:
        orders, self._liquidations = self._liquidations, {}
        for symbol, order in orders.items():
            encoded = payloads.encode(payloads.force_order(order, now_ms))
            for stream in (f"{symbol.lower()}@forceOrder", "!forceOrder@arr"):
                self._hub.publish("market", stream, encoded, conflate=False)

    # -- 24 hours

    def day(self, symbol: str, now_ms: int) -> DayView | None:
        """Return the figures of the last 24 hours, None before the first price."""
        opened = (now_ms - DAY_MS) // 60_000 * 60_000
        candle = self._history.candle(symbol, opened, now_ms + 1, now_ms)
        market = self._markets[symbol]
        if candle is None or not market.live:
            return None
        tape = self._tapes.get(symbol)
        trades = tape.trades if tape is not None else ()
        last = trades[-1] if trades and not market.scripted else None
        rules = self._rules[symbol]
        between = f"{rules.traded_price(market):.{rules.info.price_precision}f}"
        return DayView(
            symbol=symbol,
            last=last.price if last else between,
            last_quantity=last.quantity if last else "0",
            candle=candle,
            open_time=opened,
            close_time=now_ms,
            first_id=trades[0].number if trades else 0,
            last_id=trades[-1].number if trades else 0,
        )

    def _day_figures(self, second: int, now_ms: int) -> None:
        for array, suffix, every, build in (
            ("!ticker@arr", "@ticker", 2, payloads.ticker),
            ("!miniTicker@arr", "@miniTicker", 1, payloads.mini_ticker),
        ):
            wanted = self._hub.wants("market", array)
            changed = []
            for symbol, market in self._markets.items():
                stream = symbol.lower() + suffix
                single = second % every == 0 and self._hub.wants("market", stream)
                fresh = wanted and self._shown_day.get(suffix + symbol) != market.update_id
                if not (single or fresh):
                    continue
                view = self.day(symbol, now_ms)
                if view is None:
                    continue
                event = build(view, self._rules[symbol], now_ms)
                if single:
                    self._hub.publish("market", stream, payloads.encode(event), conflate=True)
                if fresh:
                    self._shown_day[suffix + symbol] = market.update_id
                    changed.append(event)
            if changed:  # the arrays hold only what changed (spec 4.2)
                self._hub.publish("market", array, payloads.encode(changed), conflate=False)

    # -- candles

    def candles(self, now_ms: int) -> None:
        """Publish the candles that somebody listens to, four times a second."""
        before, self._candles_ms = self._candles_ms, now_ms
        if before // CANDLE_MS == now_ms // CANDLE_MS:
            return
        for symbol, market in self._markets.items():
            if not market.live:
                continue
            name, pair = symbol.lower(), self._rules[symbol].info.pair.lower()
            for interval in INTERVAL_MS:
                plain = f"{name}@kline_{interval}"
                continuous = f"{pair}_perpetual@continuousKline_{interval}"
                streams = [s for s in (plain, continuous) if self._hub.wants("market", s)]
                if streams:
                    self._candle(symbol, interval, streams, before, now_ms)

    def _candle(self, symbol: str, interval: str, streams: list[str], before_ms: int, now_ms: int) -> None:
        opened = opening(interval, now_ms)
        moments = [(opened, False)]
        if before_ms < opened:  # the last candle has just closed
            moments.insert(0, (opening(interval, opened - 1), True))
        for open_ms, closed in moments:
            view = self.candle_view(symbol, interval, open_ms, now_ms, closed)
            if view is None:
                continue
            for stream in streams:
                build = payloads.continuous_kline if "@continuousKline_" in stream else payloads.kline
                encoded = payloads.encode(build(view, now_ms))
                self._hub.publish("market", stream, encoded, conflate=not closed)

    def candle_view(
        self, symbol: str, interval: str, open_ms: int, now_ms: int, closed: bool
    ) -> CandleView | None:
        """Return one candle, None when nothing is known of its time."""
        end = closing(interval, open_ms)
        candle = self._history.candle(symbol, open_ms, end, now_ms)
        if candle is None:
            return None
        tape = self._tapes.get(symbol)
        ids = [t.number for t in tape.trades if open_ms <= t.time_ms < end] if tape is not None else []
        first, last = (ids[0], ids[-1]) if ids else (0, 0)
        return CandleView(interval, open_ms, end - 1, candle, closed, self._rules[symbol], first, last)
