"""Binance's own Python SDK (REST, WebSocket streams, WebSocket API) trades on the simulator.

Every answer is also held against the SDK's own strict models: it logs a warning for one that does not fit.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_common.errors import BadRequestError
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
    DerivativesTradingUsdsFutures,
)
from binance_sdk_derivatives_trading_usds_futures.rest_api.models import (
    ModifyMultipleOrdersBatchOrdersParameterInner,
    PlaceMultipleOrdersBatchOrdersParameterInner,
)
from calls_binance_sdk import all_calls
from steps import HTTP, KEY, SECRET, WS, Steps, Stop, move_market, same, until

SYMBOL = "BTCUSDT"
QUANTITY = 0.02


class Warnings(logging.Handler):
    """Keeps what the SDK warns of: answers that do not fit its models."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.texts.append(record.getMessage()[:500])


def connected() -> DerivativesTradingUsdsFutures:
    """Return a client whose hosts are the simulator's, by its own configuration."""
    return DerivativesTradingUsdsFutures(
        config_rest_api=ConfigurationRestAPI(api_key=KEY, api_secret=SECRET, base_path=HTTP, timeout=5000),
        config_ws_api=ConfigurationWebSocketAPI(
            api_key=KEY, api_secret=SECRET, stream_url=f"{WS}/ws-fapi/v1"
        ),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=WS),
    )


class Flow:
    """One position mode of one client. The REST part of the SDK is synchronous: its calls run in a thread."""

    def __init__(
        self, client: DerivativesTradingUsdsFutures, streams: Any, socket: Any, hedged: bool
    ) -> None:
        self.rest = client.rest_api
        self.streams = streams
        self.socket = socket
        self.hedged = hedged
        self.steps = Steps("hedge" if hedged else "one-way")
        self.events: list[Any] = []
        self.long = "LONG" if hedged else "BOTH"

    async def call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call a REST method; return its typed data."""
        return (await asyncio.to_thread(lambda: method(**arguments))).data()

    def keep(self, message: Any) -> None:
        """Take one user event."""
        event = getattr(message, "actual_instance", None)
        if event is not None:
            self.events.append(event)

    async def order_event(self, order_id: int, **wanted: object) -> Any:
        """Wait for an order event with these fields."""

        def found() -> Any:
            rows = [e.o for e in self.events if type(e).__name__ == "OrderTradeUpdate"]
            return next((o for o in rows if o.i == order_id and fits(o, wanted)), None)

        return await until(found, f"event of order {order_id} with {wanted}")

    async def algo_event(self, algo_id: int, status: str) -> Any:
        """Wait for an algo event with this status."""

        def found() -> Any:
            rows = [e.o for e in self.events if type(e).__name__ == "AlgoUpdate"]
            return next((o for o in rows if o.aid == algo_id and status == o.X), None)

        return await until(found, f"event of algo order {algo_id} {status}")

    async def position_event(self, side: str, amount: object) -> Any:
        """Wait for the account event that brought a position to an amount."""

        def found() -> Any:
            for event in reversed(self.events):
                if type(event).__name__ == "AccountUpdate":
                    for row in event.a.P or ():
                        if row.ps == side and same(row.pa, amount):
                            return event
            return None

        return await until(found, f"account event of {side} {amount}")

    async def run(self) -> int:
        """Everything in this mode; returns the number of failures."""
        handle = None
        with contextlib.suppress(Stop):
            async with self.steps.step("set the position mode"):
                mode = await self.call(self.rest.get_current_position_mode)
                if mode.dual_side_position != self.hedged:
                    await self.call(
                        self.rest.change_position_mode, dual_side_position=str(self.hedged).lower()
                    )
                mode = await self.call(self.rest.get_current_position_mode)
                assert mode.dual_side_position is self.hedged
            async with self.steps.step("open the user stream"):
                key = (await self.call(self.rest.start_user_data_stream)).listen_key
                handle = await self.streams.user_data(key)
                handle.on("message", self.keep)
                await asyncio.sleep(0.3)
            await self.order_life()
            await self.cancel_many()
            await self.batches()
            await self.round_trip()
            await self.socket_api()
            await self.conditional()
            await self.take_profit()
        if handle is not None:
            await handle.unsubscribe()
        return self.steps.failed

    async def order_life(self) -> None:
        """Place, query, amend, cancel."""
        ticker = (await self.call(self.rest.symbol_price_ticker_v2, symbol=SYMBOL)).actual_instance
        self.low = low = round(float(ticker.price) * 0.9, 1)
        self.limit = limit = {
            **{"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "time_in_force": "GTC"},
            "position_side": self.long,
        }
        async with self.steps.step("place a limit order, with its event") as note:
            placed = await self.call(
                self.rest.new_order, **limit, quantity=QUANTITY, price=low, new_client_order_id="sdk-1"
            )
            assert placed.status == "NEW"
            assert placed.client_order_id == "sdk-1"
            event = await self.order_event(placed.order_id, x="NEW", X="NEW", p=low, q=QUANTITY)
            assert event.c == "sdk-1"
            assert event.ps == self.long
            note(placed.order_id, "at", low)
        order = {"symbol": SYMBOL, "order_id": placed.order_id}
        async with self.steps.step("query it"):
            fetched = await self.call(self.rest.query_order, **order)
            assert same(fetched.price, low)
            assert fetched.status == "NEW"
            rows = await self.call(self.rest.current_all_open_orders, symbol=SYMBOL)
            assert [row.order_id for row in rows] == [placed.order_id]
        async with self.steps.step("amend it, with its event"):
            changed = await self.call(
                self.rest.modify_order, **order, side="BUY", quantity=QUANTITY * 2, price=low - 100
            )
            assert changed.order_id == placed.order_id
            await self.order_event(placed.order_id, x="AMENDMENT", p=round(low - 100, 1), q=QUANTITY * 2)
        async with self.steps.step("cancel it, with its event"):
            cancelled = await self.call(self.rest.cancel_order, **order)
            assert cancelled.status == "CANCELED"
            await self.order_event(placed.order_id, x="CANCELED", X="CANCELED")
            code = 0
            try:
                await self.call(self.rest.cancel_order, **order)
            except BadRequestError as error:
                code = error.status_code
            assert code == -2011

    async def cancel_many(self) -> None:
        """Cancel all, and by the dead man's switch."""
        limit, low = self.limit, self.low
        async with self.steps.step("cancel all"):
            for n in range(3):
                await self.call(self.rest.new_order, **limit, quantity=QUANTITY, price=low - n)
            await self.call(self.rest.cancel_all_open_orders, symbol=SYMBOL)
            assert await self.call(self.rest.current_all_open_orders, symbol=SYMBOL) == []
        async with self.steps.step("dead man's switch"):
            placed = await self.call(self.rest.new_order, **limit, quantity=QUANTITY, price=low)
            await self.call(self.rest.auto_cancel_all_open_orders, symbol=SYMBOL, countdown_time=300)
            await self.order_event(placed.order_id, X="CANCELED")

    async def batches(self) -> None:
        """Place, amend and cancel several at once."""
        low = self.low
        async with self.steps.step("place a batch, one element refused"):
            wanted = [(QUANTITY, round(low - n, 1)) for n in (0, 10, 20)] + [(0.001, 1000.0)]
            answers = await self.call(
                self.rest.place_multiple_orders,
                batch_orders=[
                    PlaceMultipleOrdersBatchOrdersParameterInner(
                        **self.limit, quantity=quantity, price=price, reduce_only=None
                    )
                    for quantity, price in wanted
                ],
            )
            assert [a.status for a in answers] == ["NEW", "NEW", "NEW", None], answers
            assert answers[3].code in (-4164, -4016, -4024), answers
            ids = [a.order_id for a in answers[:3]]
        async with self.steps.step("amend the batch"):
            answers = await self.call(
                self.rest.modify_multiple_orders,
                batch_orders=[
                    ModifyMultipleOrdersBatchOrdersParameterInner(
                        order_id=i,
                        symbol=SYMBOL,
                        side="BUY",
                        quantity=QUANTITY,
                        price=round(low - 200 - n, 1),
                    )
                    for n, i in enumerate(ids)
                ],
            )
            assert all(same(a.price, round(low - 200 - n, 1)) for n, a in enumerate(answers)), answers
        async with self.steps.step("cancel the batch"):
            answers = await self.call(
                self.rest.cancel_multiple_orders, symbol=SYMBOL, order_id_list=[*ids, 999999999999]
            )
            assert [a.status for a in answers[:3]] == ["CANCELED"] * 3
            assert answers[3].code == -2011

    async def conditional(self) -> None:
        """Stop, take-profit and trailing orders, which the venue's algo service holds."""
        last = self.low / 0.9
        common = {
            "algo_type": "CONDITIONAL",
            "symbol": SYMBOL,
            "side": "BUY",
            "position_side": self.long,
            "quantity": QUANTITY,
        }
        high, deep = round(last * 1.05, 1), round(last * 0.95, 1)
        async with self.steps.step("conditional orders: place, query, cancel"):
            new = self.rest.new_algo_order
            made = [
                await self.call(new, **common, type="STOP_MARKET", trigger_price=high),
                await self.call(new, **common, type="TAKE_PROFIT_MARKET", trigger_price=deep),
                await self.call(
                    new, **common, type="STOP", trigger_price=high, price=high, time_in_force="GTC"
                ),
                await self.call(new, **common, type="TRAILING_STOP_MARKET", callback_rate=1.5),
            ]
            ids = [m.algo_id for m in made]
            rows = await self.call(self.rest.current_all_algo_open_orders, symbol=SYMBOL)
            assert sorted(r.algo_id for r in rows) == sorted(ids)
            for algo_id in ids:
                await self.algo_event(algo_id, "NEW")
            found = await self.call(self.rest.query_algo_order, algo_id=ids[0])
            assert found.algo_status == "NEW"
            assert same(found.trigger_price, high)
            await self.call(self.rest.cancel_algo_order, algo_id=ids[0])
            await self.algo_event(ids[0], "CANCELED")
            await self.call(self.rest.cancel_all_algo_open_orders, symbol=SYMBOL)
            assert await self.call(self.rest.current_all_algo_open_orders, symbol=SYMBOL) == []

    async def take_profit(self) -> None:
        """A take-profit order on the mark price, which the market reaches."""
        async with self.steps.step("a take-profit closes the position when the market gets there") as note:
            side = {"symbol": SYMBOL, "position_side": self.long, "quantity": QUANTITY}
            await self.call(self.rest.new_order, **side, side="BUY", type="MARKET")
            ticker = (await self.call(self.rest.symbol_price_ticker_v2, symbol=SYMBOL)).actual_instance
            made = await self.call(
                self.rest.new_algo_order,
                **side,
                algo_type="CONDITIONAL",
                side="SELL",
                type="TAKE_PROFIT_MARKET",
                trigger_price=round(float(ticker.price) * 1.005, 1),
                working_type="MARK_PRICE",
            )
            await move_market(SYMBOL, "1.01")
            try:
                event = await self.algo_event(made.algo_id, "FINISHED")
                order = await self.order_event(int(event.ai), x="TRADE", X="FILLED", z=QUANTITY)
                await self.position_event(self.long, 0)
                assert Decimal(order.rp) > 0
                note("sold at", order.ap)
            finally:
                await move_market(SYMBOL)

    async def socket_api(self) -> None:
        """The WebSocket trading API."""
        async with self.steps.step("trade over the WebSocket API"):
            answer = await self.socket.new_order(**self.limit, quantity=QUANTITY, price=self.low)
            placed = answer.data().result
            order = {"symbol": SYMBOL, "order_id": placed.order_id}
            await self.order_event(placed.order_id, x="NEW", p=self.low)
            price = round(self.low - 50, 1)
            await self.socket.modify_order(**order, side="BUY", quantity=QUANTITY, price=price)
            await self.order_event(placed.order_id, x="AMENDMENT", p=price)
            status = (await self.socket.query_order(**order)).data().result
            assert status.status == "NEW"
            assert same(status.price, price)
            assert (await self.socket.cancel_order(**order)).data().result.status == "CANCELED"
            balances = (await self.socket.futures_account_balance_v2()).data().result
            assert any(row.asset == "USDT" for row in balances)

    async def wallet(self) -> Decimal:
        """The wallet balance in USDT."""
        rows = await self.call(self.rest.futures_account_balance_v3)
        return next(Decimal(row.balance) for row in rows if row.asset == "USDT")

    async def held(self) -> dict[str, Decimal]:
        """Open positions by side."""
        rows = await self.call(self.rest.position_information_v3, symbol=SYMBOL)
        return {p.position_side: Decimal(p.position_amt) for p in rows if Decimal(p.position_amt)}

    async def trades(self) -> dict[int, Any]:
        """All trades by id."""
        return {t.id: t for t in await self.call(self.rest.account_trade_list, symbol=SYMBOL, limit=1000)}

    async def round_trip(self) -> None:
        """Open and close, and account for every cent."""
        assert await self.held() == {}
        before, known = await self.wallet(), await self.trades()
        legs = [("LONG", "BUY"), ("SHORT", "SELL")] if self.hedged else [("BOTH", "BUY")]
        size = Decimal(str(QUANTITY))
        market = {
            "symbol": SYMBOL,
            "type": "MARKET",
            "quantity": QUANTITY,
            "new_order_resp_type": "RESULT",
        }
        for name, side in legs:
            kind = "short" if name == "SHORT" else "long"
            async with self.steps.step(f"open a {kind}, with its events") as note:
                order = await self.call(self.rest.new_order, **market, side=side, position_side=name)
                assert order.status == "FILLED"
                assert same(order.executed_qty, size)
                event = await self.order_event(order.order_id, x="TRADE", X="FILLED", z=size)
                assert event.N == "USDT"
                assert Decimal(event.n) > 0
                update = await self.position_event(name, size if side == "BUY" else -size)
                assert update.a.m == "ORDER"
                assert same(update.a.B[0].wb, await self.wallet())
                note(QUANTITY, "at", event.ap)
        async with self.steps.step("the position is there"):
            assert await self.held() == {n: size if side == "BUY" else -size for n, side in legs}
        for name, side in legs:
            async with self.steps.step(f"close the {'short' if name == 'SHORT' else 'long'}"):
                extra = {} if self.hedged else {"reduce_only": "true"}
                back = "SELL" if side == "BUY" else "BUY"
                order = await self.call(self.rest.new_order, **market, **extra, side=back, position_side=name)
                assert order.status == "FILLED"
                await self.order_event(order.order_id, x="TRADE", X="FILLED")
                await self.position_event(name, 0)
        async with self.steps.step("flat, and the balance moved by PnL less fees") as note:
            assert await self.held() == {}
            rows = [t for i, t in (await self.trades()).items() if i not in known]
            assert sum(Decimal(t.qty) for t in rows) == 2 * len(legs) * size
            change = sum(Decimal(t.realized_pnl) - Decimal(t.commission) for t in rows)
            assert await self.wallet() - before == change != 0
            income = await self.call(self.rest.get_income_history, symbol=SYMBOL, limit=1000)
            ids = {str(t.id) for t in rows}
            booked = sum(Decimal(i.income) for i in income if i.trade_id in ids)
            assert booked == change, (booked, change)
            note("wallet", change)


def fits(row: Any, wanted: dict[str, object]) -> bool:
    """Whether the fields have these values; numbers by value."""
    return all(getattr(row, k) == v or (k in "qplz" and same(getattr(row, k), v)) for k, v in wanted.items())


async def market(client: DerivativesTradingUsdsFutures, streams: Any, steps: Steps) -> None:
    """Markets and market streams."""

    async def first(subscribe: Any, **arguments: Any) -> Any:
        got: asyncio.Queue[Any] = asyncio.Queue()
        stream = await subscribe(symbol=SYMBOL.lower(), **arguments)
        stream.on("message", got.put_nowait)
        try:
            return await got.get()
        finally:
            await stream.unsubscribe()

    async with steps.step("load the markets") as note:
        info = (await asyncio.to_thread(client.rest_api.exchange_information)).data()
        row = next(s for s in info.symbols if s.symbol == SYMBOL)
        assert row.status == "TRADING"
        note(len(info.symbols), "markets")
    async with steps.step("stream quotes") as note:
        quote = await first(streams.individual_symbol_book_ticker_streams)
        assert Decimal(quote.b) < Decimal(quote.a)
        note("bid", quote.b, "ask", quote.a)
    async with steps.step("stream the mark price"):
        assert Decimal((await first(streams.mark_price_stream, update_speed="1s")).p) > 0
    async with steps.step("stream the order book"):
        depth = await first(streams.partial_book_depth_streams, levels=10)
        assert Decimal(depth.b[0][0]) < Decimal(depth.a[0][0])
    async with steps.step("stream trades"):
        assert Decimal((await first(streams.aggregate_trade_streams)).q) > 0
    async with steps.step("stream candles"):
        candle = (await first(streams.kline_candlestick_streams, interval="1m")).k
        assert Decimal(candle.l) <= Decimal(candle.c) <= Decimal(candle.h)


async def main() -> int:
    """Run the flow in both modes."""
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    client, steps = connected(), Steps()
    streams = client.websocket_streams
    await streams.create_connection()
    socket = client.websocket_api
    await socket.create_connection()
    failed = 0
    try:
        with contextlib.suppress(Stop):
            await market(client, streams, steps)
        for hedged in (True, False):
            failed += await Flow(client, streams, socket, hedged).run()
        failed += await all_calls(client, streams, socket)
        with contextlib.suppress(Stop):
            async with steps.step("every answer fitted the SDK's own models"):
                assert warnings.texts == [], "\n".join(sorted(set(warnings.texts)))
    finally:
        await streams.close_connection()
        await socket.close_connection()
    return 1 if failed + steps.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
