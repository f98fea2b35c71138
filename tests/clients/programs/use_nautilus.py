"""NautilusTrader's Binance futures adapter runs a small strategy on the simulator.

The hosts are set by the adapter's own configuration. It knows traffic classes only on Binance's own host
names, so the simulator serves the old stream paths here (`--stream-routing legacy`).
"""

import asyncio
import contextlib
import sys
from decimal import Decimal
from typing import Any

from nautilus_trader.adapters.binance import (
    BINANCE,
    BinanceAccountType,
    BinanceDataClientConfig,
    BinanceExecClientConfig,
    BinanceInstrumentProviderConfig,
    BinanceLiveDataClientFactory,
    BinanceLiveExecClientFactory,
)
from nautilus_trader.config import LiveExecEngineConfig, LoggingConfig, StrategyConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import OrderSide, TimeInForce
from nautilus_trader.model.identifiers import InstrumentId, TraderId
from nautilus_trader.trading.strategy import Strategy
from steps import HTTP, KEY, SECRET, WS, Steps, Stop, until

INSTRUMENT = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
QUANTITY = Decimal("0.020")


class RoundTripConfig(StrategyConfig, frozen=True):
    """The strategy has no settings of its own."""


class RoundTrip(Strategy):
    """Does what it is told, and keeps everything that the adapter brings."""

    def __init__(self) -> None:
        super().__init__(RoundTripConfig(strategy_id="ROUND-001"))
        self.seen: dict[str, list[Any]] = {}

    def on_start(self) -> None:
        """Subscribe to every kind of market data."""
        self.subscribe_quote_ticks(INSTRUMENT)
        self.subscribe_trade_ticks(INSTRUMENT)
        self.subscribe_mark_prices(INSTRUMENT)
        self.subscribe_order_book_deltas(INSTRUMENT)

    def keep(self, event: Any) -> None:
        """Keep one event under its type."""
        rows = self.seen.setdefault(type(event).__name__, [])
        rows.append(event)
        del rows[:-500]

    on_quote_tick = on_trade_tick = on_mark_price = on_order_book_deltas = on_event = keep

    def last(self, kind: str) -> Any:
        """Return the newest event of a type, or None."""
        return (self.seen.get(kind) or [None])[-1]

    def of(self, order: Any, kind: str) -> Any:
        """Return an event of this order, or None."""
        rows = self.seen.get(kind, [])
        return next((e for e in rows if e.client_order_id == order.client_order_id), None)


def node() -> TradingNode:
    """Return a node whose Binance clients use the simulator."""
    common = {
        "api_key": KEY,
        "api_secret": SECRET,
        "account_type": BinanceAccountType.USDT_FUTURES,
        "base_url_http": HTTP,
        "instrument_provider": BinanceInstrumentProviderConfig(load_all=True),
    }
    built = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("PMS-001"),
            logging=LoggingConfig(log_level="INFO", log_colors=False),
            exec_engine=LiveExecEngineConfig(reconciliation=True, reconciliation_startup_delay_secs=1.0),
            data_clients={BINANCE: BinanceDataClientConfig(**common, base_url_ws=WS)},
            exec_clients={
                BINANCE: BinanceExecClientConfig(
                    **common, base_url_ws=f"{WS}/ws-fapi/v1", base_url_ws_stream=f"{WS}/private"
                )
            },
        )
    )
    built.add_data_client_factory(BINANCE, BinanceLiveDataClientFactory)
    built.add_exec_client_factory(BINANCE, BinanceLiveExecClientFactory)
    return built


async def market(strategy: RoundTrip, steps: Steps) -> None:
    """Instruments and market data."""
    async with steps.step("load the markets", 40) as note:
        await until(lambda: strategy.is_running, "the strategy", 38)
        instrument = strategy.cache.instrument(INSTRUMENT)
        assert instrument.price_increment == Decimal("0.1")
        note(len(strategy.cache.instruments()), "instruments")
    async with steps.step("stream quotes") as note:
        quote: QuoteTick = await until(lambda: strategy.last("QuoteTick"), "a quote")
        assert 0 < quote.bid_price < quote.ask_price
        note("bid", quote.bid_price, "ask", quote.ask_price)
    async with steps.step("stream the mark price"):
        await until(lambda: strategy.last("MarkPriceUpdate"), "a mark price")
    async with steps.step("stream the order book"):
        await until(lambda: strategy.last("OrderBookDeltas"), "a depth update")
    async with steps.step("stream trades"):
        await until(lambda: strategy.last("TradeTick"), "a trade")


async def order_life(strategy: RoundTrip, steps: Steps) -> None:
    """Place, amend, cancel; stop orders."""
    instrument = strategy.cache.instrument(INSTRUMENT)
    quote = strategy.last("QuoteTick")
    low = instrument.make_price(float(quote.bid_price) * 0.9)
    order = strategy.order_factory.limit(INSTRUMENT, OrderSide.BUY, instrument.make_qty(QUANTITY), low)
    async with steps.step("place a limit order, with its event") as note:
        strategy.submit_order(order)
        accepted = await until(lambda: strategy.of(order, "OrderAccepted"), "OrderAccepted")
        note(accepted.venue_order_id, "at", low)
    async with steps.step("amend it, with its event"):
        lower = instrument.make_price(float(low) - 100)
        strategy.modify_order(order, instrument.make_qty(QUANTITY * 2), lower)
        updated = await until(lambda: strategy.of(order, "OrderUpdated"), "OrderUpdated")
        assert updated.price == lower
        assert updated.quantity == QUANTITY * 2
    async with steps.step("cancel it, with its event"):
        strategy.cancel_order(order)
        await until(lambda: strategy.of(order, "OrderCanceled"), "OrderCanceled")
    async with steps.step("place a batch") as note:
        several = [
            strategy.order_factory.limit(
                INSTRUMENT,
                OrderSide.BUY,
                instrument.make_qty(QUANTITY),
                instrument.make_price(float(low) - n),
            )
            for n in range(3)
        ]
        strategy.submit_order_list(strategy.order_factory.create_list(several))
        for one in several:
            await until(lambda one=one: strategy.of(one, "OrderAccepted"), "OrderAccepted")
        note(len(several), "orders")
    async with steps.step("cancel the batch"):
        strategy.cancel_orders(several)
        for one in several:
            await until(lambda one=one: strategy.of(one, "OrderCanceled"), "OrderCanceled")
    async with steps.step("conditional orders: place, query, cancel"):
        stop = strategy.order_factory.stop_market(
            INSTRUMENT,
            OrderSide.BUY,
            instrument.make_qty(QUANTITY),
            instrument.make_price(float(quote.ask_price) * 1.05),
            time_in_force=TimeInForce.GTC,
        )
        strategy.submit_order(stop)
        await until(lambda: strategy.of(stop, "OrderAccepted"), "OrderAccepted")
        strategy.cancel_order(stop)
        await until(lambda: strategy.of(stop, "OrderCanceled"), "OrderCanceled")


async def round_trip(strategy: RoundTrip, steps: Steps) -> None:
    """Open and close, and account for every cent."""
    instrument = strategy.cache.instrument(INSTRUMENT)

    def wallet() -> Decimal:
        account = strategy.portfolio.account(INSTRUMENT.venue)
        return account.balance_total(USDT).as_decimal()

    before = wallet()
    fills = []
    for side, name, event in (
        (OrderSide.BUY, "open a long, with its events", "PositionOpened"),
        (OrderSide.SELL, "close the long", "PositionClosed"),
    ):
        async with steps.step(name) as note:
            order = strategy.order_factory.market(
                INSTRUMENT, side, instrument.make_qty(QUANTITY), reduce_only=side is OrderSide.SELL
            )
            strategy.submit_order(order)
            filled = await until(lambda order=order: strategy.of(order, "OrderFilled"), "OrderFilled")
            await until(lambda order=order: order.is_closed, "the whole order filled")
            fills += [e for e in strategy.seen["OrderFilled"] if e.client_order_id == order.client_order_id]
            await until(lambda event=event: strategy.last(event), event)
            assert filled.commission.as_decimal() > 0
            note(order.filled_qty, "at", order.avg_px)
    async with steps.step("flat, and the balance moved by PnL less fees") as note:
        assert strategy.portfolio.is_flat(INSTRUMENT)
        signs = {OrderSide.BUY: -1, OrderSide.SELL: 1}
        traded = sum(signs[f.order_side] * f.last_qty.as_decimal() * f.last_px.as_decimal() for f in fills)
        change = traded - sum(f.commission.as_decimal() for f in fills)
        await until(lambda: abs(wallet() - before - change) < Decimal("0.0001"), "the new balance")
        note("wallet", change)


async def main() -> int:
    """Run the node beside the flow."""
    steps = Steps("one-way")
    trading, strategy = node(), RoundTrip()
    trading.trader.add_strategy(strategy)
    trading.build()
    running = asyncio.create_task(trading.run_async())
    try:
        with contextlib.suppress(Stop):
            await market(strategy, steps)
            await order_life(strategy, steps)
            await round_trip(strategy, steps)
    finally:
        await trading.stop_async()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return 1 if steps.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
