"""python-binance (AsyncClient, BinanceSocketManager, its futures WebSocket API) trades on the simulator."""

import asyncio
import contextlib
import sys
from decimal import Decimal
from typing import Any

from binance import AsyncClient, BinanceSocketManager
from binance.exceptions import BinanceAPIException
from calls_python_binance import all_calls
from steps import HTTP, KEY, SECRET, WS, Steps, Stop, move_market, same, until

SYMBOL = "BTCUSDT"
QUANTITY = "0.020"
LIMIT = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": QUANTITY}


class Client(AsyncClient):
    """The client with its hosts set by its own class attributes."""

    FUTURES_URL = f"{HTTP}/fapi"
    FUTURES_DATA_URL = f"{HTTP}/futures/data"
    WS_FUTURES_URL = f"{WS}/ws-fapi/v1"


class Sockets(BinanceSocketManager):
    """The sockets, likewise."""

    FSTREAM_URL = f"{WS}/"


class UserEvents:
    """Collects the events of the user stream."""

    def __init__(self, sockets: Sockets) -> None:
        self.rows: list[dict[str, Any]] = []
        self._socket = sockets.futures_user_socket()
        self._open = asyncio.Event()
        self._stopped = False
        self._task = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        async with self._socket as socket:
            self._open.set()
            while not self._stopped:
                self.rows.append(await socket.recv())

    async def opened(self) -> None:
        """Wait until the socket is open."""
        await self._open.wait()

    async def order(self, order_id: int, **wanted: object) -> dict[str, Any]:
        """Wait for an ORDER_TRADE_UPDATE of an order with these fields."""

        def found() -> dict[str, Any] | None:
            rows = [r["o"] for r in self.rows if r.get("e") == "ORDER_TRADE_UPDATE"]
            return next((o for o in rows if o["i"] == order_id and matches(o, wanted)), None)

        return await until(found, f"event of order {order_id} with {wanted}")

    async def algo(self, algo_id: int, status: str) -> dict[str, Any]:
        """Wait for an ALGO_UPDATE with this status."""

        def found() -> dict[str, Any] | None:
            rows = [r["o"] for r in self.rows if r.get("e") == "ALGO_UPDATE"]
            return next((o for o in rows if o["aid"] == algo_id and o["X"] == status), None)

        return await until(found, f"event of algo order {algo_id} {status}")

    def account(self, side: str, amount: str) -> dict[str, Any] | None:
        """Return the ACCOUNT_UPDATE that brought a position to an amount."""
        for row in reversed(self.rows):
            if row.get("e") == "ACCOUNT_UPDATE":
                for position in row["a"]["P"]:
                    if position["ps"] == side and same(position["pa"], amount):
                        return row
        return None

    def stop(self) -> asyncio.Task[None]:
        """Close the socket; the library takes up to ten seconds for it on a quiet one.

        The flag is for Python 3.11, where `wait_for` in the library may lose the cancellation.
        """
        self._stopped = True
        self._task.cancel()
        return self._task


def matches(row: dict[str, Any], wanted: dict[str, object]) -> bool:
    """Whether the fields have these values; numbers by value."""
    return all(row[k] == v or (k in "qplz" and same(row[k], v)) for k, v in wanted.items())


async def streams(client: Client, sockets: Sockets, steps: Steps) -> None:
    """Markets and market streams."""
    async with steps.step("load the markets") as note:
        info = await client.futures_exchange_info()
        symbol = next(s for s in info["symbols"] if s["symbol"] == SYMBOL)
        assert symbol["status"] == "TRADING"
        assert {"PRICE_FILTER", "LOT_SIZE", "MIN_NOTIONAL"} <= {f["filterType"] for f in symbol["filters"]}
        note(len(info["symbols"]), "markets")
    async with steps.step("stream quotes") as note:
        async with sockets.symbol_ticker_futures_socket(SYMBOL) as socket:
            quote = (await socket.recv())["data"]
        assert Decimal(quote["b"]) < Decimal(quote["a"])
        note("bid", quote["b"], "ask", quote["a"])
    async with steps.step("stream the mark price"):
        async with sockets.futures_multiplex_socket([f"{SYMBOL.lower()}@markPrice@1s"]) as socket:
            mark = (await socket.recv())["data"]
        assert mark["e"] == "markPriceUpdate"
        assert Decimal(mark["p"]) > 0
    async with steps.step("stream the order book"):
        async with sockets.futures_depth_socket(SYMBOL, depth="10") as socket:
            depth = (await socket.recv())["data"]
        assert depth["e"] == "depthUpdate"
        assert Decimal(depth["b"][0][0]) < Decimal(depth["a"][0][0])
    async with steps.step("stream trades"):
        async with sockets.aggtrade_futures_socket(SYMBOL) as socket:
            trade = await socket.recv()
        trade = trade.get("data", trade)
        assert trade["e"] == "aggTrade"
        assert Decimal(trade["q"]) > 0
    async with steps.step("stream candles"):
        async with sockets.kline_futures_socket(SYMBOL, interval="1m") as socket:
            candle = (await socket.recv())["k"]
        assert Decimal(candle["l"]) <= Decimal(candle["c"]) <= Decimal(candle["h"])


async def far_below(client: Client) -> Decimal:
    """Return a price at which a buy order rests."""
    last = Decimal((await client.futures_symbol_ticker(symbol=SYMBOL))["price"])
    return (last * Decimal("0.9")).quantize(Decimal("0.1"))


async def order_life(client: Client, steps: Steps, events: UserEvents, position: dict[str, str]) -> None:
    """Place, query, amend, cancel."""
    low, limit = await far_below(client), {**LIMIT, **position}
    async with steps.step("place a limit order, with its event") as note:
        placed = await client.futures_create_order(**limit, price=str(low))
        assert placed["status"] == "NEW"
        event = await events.order(placed["orderId"], x="NEW", X="NEW", p=low, q=QUANTITY)
        assert event["c"] == placed["clientOrderId"]
        assert event["ps"] == position.get("positionSide", "BOTH")
        note(placed["orderId"], "at", low)
    order = {"symbol": SYMBOL, "orderId": placed["orderId"]}
    async with steps.step("query it"):
        fetched = await client.futures_get_order(**order)
        assert same(fetched["price"], low)
        assert same(fetched["executedQty"], 0)
        assert [o["orderId"] for o in await client.futures_get_open_orders(symbol=SYMBOL)] == [
            placed["orderId"]
        ]
    async with steps.step("amend it, with its event"):
        changed = await client.futures_modify_order(
            **order, side="BUY", quantity="0.040", price=str(low - 100)
        )
        assert changed["orderId"] == placed["orderId"]
        await events.order(placed["orderId"], x="AMENDMENT", X="NEW", p=low - 100, q="0.040")
    async with steps.step("cancel it, with its event"):
        cancelled = await client.futures_cancel_order(**order)
        assert cancelled["status"] == "CANCELED"
        await events.order(placed["orderId"], x="CANCELED", X="CANCELED")
        code = 0
        try:
            await client.futures_cancel_order(**order)
        except BinanceAPIException as error:
            code = error.code
        assert code == -2011


async def batches(client: Client, steps: Steps, events: UserEvents, position: dict[str, str]) -> None:
    """Place, amend and cancel several at once; cancel all."""
    low, limit = await far_below(client), {**LIMIT, **position}
    async with steps.step("place a batch, one element refused"):
        prices = [str(low - n) for n in (0, 10, 20)]
        batch = [{**limit, "price": price} for price in prices]
        batch.append({**limit, "quantity": "0.001", "price": "1000.0"})
        answers = await client.futures_place_batch_order(batchOrders=batch)
        assert [a.get("status") for a in answers] == ["NEW", "NEW", "NEW", None], answers
        assert answers[3]["code"] in (-4164, -4016, -4024), answers
        ids = [a["orderId"] for a in answers[:3]]
    async with steps.step("cancel the batch"):
        answers = await client.futures_cancel_orders(symbol=SYMBOL, orderidlist=[*ids, 999999999999])
        assert [a.get("status") for a in answers[:3]] == ["CANCELED"] * 3
        assert answers[3]["code"] == -2011
    async with steps.step("cancel all"):
        for n in range(3):
            await client.futures_create_order(**limit, price=str(low - n))
        await client.futures_cancel_all_open_orders(symbol=SYMBOL)
        assert await client.futures_get_open_orders(symbol=SYMBOL) == []
    async with steps.step("dead man's switch"):
        placed = await client.futures_create_order(**limit, price=str(low))
        answer = await client.futures_countdown_cancel_all(symbol=SYMBOL, countdownTime=300)
        assert answer["symbol"] == SYMBOL
        await events.order(placed["orderId"], X="CANCELED")


async def conditional(client: Client, steps: Steps, events: UserEvents, position: dict[str, str]) -> None:
    """Stop, take-profit and trailing orders, which the venue's algo service holds."""
    last = Decimal((await client.futures_symbol_ticker(symbol=SYMBOL))["price"])

    def price(factor: str) -> str:
        return str((last * Decimal(factor)).quantize(Decimal("0.1")))

    async with steps.step("conditional orders: place, query, cancel"):
        common = {"symbol": SYMBOL, "side": "BUY", "quantity": QUANTITY, **position}
        made = [
            await client.futures_create_order(**common, type="STOP_MARKET", stopPrice=price("1.05")),
            await client.futures_create_order(**common, type="TAKE_PROFIT_MARKET", stopPrice=price("0.95")),
            await client.futures_create_algo_order(
                **common, type="STOP", triggerPrice=price("1.05"), price=price("1.06"), timeInForce="GTC"
            ),
            await client.futures_create_order(**common, type="TRAILING_STOP_MARKET", callbackRate="1.5"),
        ]
        ids = [m["algoId"] for m in made]
        rows = await client.futures_get_open_orders(symbol=SYMBOL, conditional=True)
        assert sorted(r["algoId"] for r in rows) == sorted(ids)
        for algo_id in ids:
            await events.algo(algo_id, "NEW")
        found = await client.futures_get_algo_order(algoId=ids[0])
        assert found["algoStatus"] == "NEW"
        assert same(found["triggerPrice"], price("1.05"))
        await client.futures_cancel_order(algoId=ids[0])
        await events.algo(ids[0], "CANCELED")
        await client.futures_cancel_all_algo_open_orders(symbol=SYMBOL)
        assert await client.futures_get_open_algo_orders(symbol=SYMBOL) == []


async def stop_loss(client: Client, steps: Steps, events: UserEvents, position: dict[str, str]) -> None:
    """A stop that the market reaches, and that closes whatever is held."""
    async with steps.step("a stop closes the position when the market gets there") as note:
        side = {"symbol": SYMBOL, **position}
        await client.futures_create_order(**side, side="BUY", type="MARKET", quantity=QUANTITY)
        last = Decimal((await client.futures_symbol_ticker(symbol=SYMBOL))["price"])
        price = str((last * Decimal("0.995")).quantize(Decimal("0.1")))
        stop = await client.futures_create_order(
            **side, side="SELL", type="STOP_MARKET", stopPrice=price, closePosition="true"
        )
        await move_market(SYMBOL, "0.99")
        try:
            event = await events.algo(stop["algoId"], "FINISHED")
            order = await events.order(int(event["ai"]), x="TRADE", X="FILLED", z=QUANTITY)
            await until(lambda: events.account(position.get("positionSide", "BOTH"), "0"), "the close")
            assert Decimal(order["rp"]) < 0
            note("sold at", order["ap"])
        finally:
            await move_market(SYMBOL)


async def socket_api(client: Client, steps: Steps, events: UserEvents, position: dict[str, str]) -> None:
    """The WebSocket trading API."""
    async with steps.step("trade over the WebSocket API"):
        book = await client.ws_futures_get_order_book_ticker(symbol=SYMBOL)
        low = (Decimal(book["bidPrice"]) * Decimal("0.9")).quantize(Decimal("0.1"))
        limit = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", **position}
        placed = await client.ws_futures_create_order(**limit, quantity=QUANTITY, price=str(low))
        order = {"symbol": SYMBOL, "orderId": placed["orderId"]}
        await events.order(placed["orderId"], x="NEW", p=low)
        await client.ws_futures_edit_order(**order, side="BUY", quantity=QUANTITY, price=str(low - 50))
        await events.order(placed["orderId"], x="AMENDMENT", p=low - 50)
        status = await client.ws_futures_get_order(**order)
        assert status["status"] == "NEW"
        assert same(status["price"], low - 50)
        assert (await client.ws_futures_cancel_order(**order))["status"] == "CANCELED"
        balances = await client.ws_futures_v2_account_balance()
        assert any(b["asset"] == "USDT" for b in balances)


async def round_trip(client: Client, steps: Steps, events: UserEvents, hedged: bool) -> None:
    """Open and close, and account for every cent."""

    async def wallet() -> Decimal:
        rows = await client.futures_account_balance()
        return next(Decimal(b["balance"]) for b in rows if b["asset"] == "USDT")

    async def held() -> dict[str, Decimal]:
        rows = await client.futures_position_information(symbol=SYMBOL)
        return {p["positionSide"]: Decimal(p["positionAmt"]) for p in rows if Decimal(p["positionAmt"])}

    assert await held() == {}
    before = await wallet()
    known = {t["id"] for t in await client.futures_account_trades(symbol=SYMBOL, limit=1000)}
    legs = [("LONG", "BUY"), ("SHORT", "SELL")] if hedged else [("BOTH", "BUY")]
    market = {"symbol": SYMBOL, "type": "MARKET", "quantity": QUANTITY, "newOrderRespType": "RESULT"}
    for name, side in legs:
        async with steps.step(f"open a {'short' if name == 'SHORT' else 'long'}, with its events") as note:
            order = await client.futures_create_order(**market, side=side, positionSide=name)
            assert order["status"] == "FILLED"
            assert same(order["executedQty"], QUANTITY)
            event = await events.order(order["orderId"], x="TRADE", X="FILLED", z=QUANTITY)
            assert event["N"] == "USDT"
            assert Decimal(event["n"]) > 0
            assert event["t"] > 0
            amount = QUANTITY if side == "BUY" else f"-{QUANTITY}"
            update = await until(
                lambda name=name, amount=amount: events.account(name, amount), "ACCOUNT_UPDATE"
            )
            assert update["a"]["m"] == "ORDER"
            assert same(update["a"]["B"][0]["wb"], await wallet())
            note(QUANTITY, "at", event["ap"])
    async with steps.step("the position is there"):
        signed = {name: Decimal(QUANTITY) * (1 if side == "BUY" else -1) for name, side in legs}
        assert await held() == signed
    for name, side in legs:
        async with steps.step(f"close the {'short' if name == 'SHORT' else 'long'}"):
            extra = {} if hedged else {"reduceOnly": "true"}
            back = "SELL" if side == "BUY" else "BUY"
            order = await client.futures_create_order(**market, side=back, positionSide=name, **extra)
            assert order["status"] == "FILLED"
            await events.order(order["orderId"], x="TRADE", X="FILLED")
            await until(lambda name=name: events.account(name, "0"), "ACCOUNT_UPDATE of the close")
    async with steps.step("flat, and the balance moved by PnL less fees") as note:
        assert await held() == {}
        rows = await client.futures_account_trades(symbol=SYMBOL, limit=1000)
        rows = [t for t in rows if t["id"] not in known]
        assert sum(Decimal(t["qty"]) for t in rows) == 2 * len(legs) * Decimal(QUANTITY)
        change = sum(Decimal(t["realizedPnl"]) - Decimal(t["commission"]) for t in rows)
        assert await wallet() - before == change != 0
        income = await client.futures_income_history(symbol=SYMBOL, limit=1000)
        ids = {str(t["id"]) for t in rows}
        booked = sum(Decimal(i["income"]) for i in income if i["tradeId"] in ids)
        assert booked == change, (booked, change)
        note("wallet", change)


async def mode(client: Client, sockets: Sockets, hedged: bool, closing: list[asyncio.Task[None]]) -> int:
    """Everything in one position mode; returns the number of failures."""
    steps = Steps("hedge" if hedged else "one-way")
    events = None
    with contextlib.suppress(Stop):
        async with steps.step("set the position mode"):
            if (await client.futures_get_position_mode())["dualSidePosition"] != hedged:
                await client.futures_change_position_mode(dualSidePosition=str(hedged).lower())
            assert (await client.futures_get_position_mode())["dualSidePosition"] == hedged
        async with steps.step("open the user stream"):
            events = UserEvents(sockets)
            await events.opened()
        position = {"positionSide": "LONG"} if hedged else {}
        await order_life(client, steps, events, position)
        await batches(client, steps, events, position)
        await round_trip(client, steps, events, hedged)
        await socket_api(client, steps, events, position)
        await conditional(client, steps, events, position)
        await stop_loss(client, steps, events, position)
    if events:
        closing.append(events.stop())
    return steps.failed


async def main() -> int:
    """Run the flow in both modes."""
    client = Client(KEY, SECRET)
    sockets = Sockets(client)
    steps = Steps()
    closing: list[asyncio.Task[None]] = []
    try:
        with contextlib.suppress(Stop):
            await streams(client, sockets, steps)
        failed = steps.failed
        for hedged in (True, False):
            failed += await mode(client, sockets, hedged, closing)
        failed += await all_calls(client, sockets)
    finally:
        await asyncio.gather(*closing, return_exceptions=True)
        await client.close_connection()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
