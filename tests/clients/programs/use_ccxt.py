"""ccxt (async REST and ccxt.pro sockets) trades on the simulator in both position modes."""

import asyncio
import contextlib
import sys
from decimal import Decimal
from typing import Any

import ccxt.pro
from calls_ccxt import all_calls
from steps import HTTP, KEY, SECRET, WS, Steps, Stop, move_market, same, until

SYMBOL = "BTC/USDT:USDT"
AMOUNT = 0.02


def connected() -> ccxt.pro.binanceusdm:
    """Return a client whose hosts are the simulator's: the documented `urls` property, and no more."""
    exchange = ccxt.pro.binanceusdm(
        {
            "apiKey": KEY,
            "secret": SECRET,
            "options": {"fetchCurrencies": False},
            "enableRateLimit": False,
            "newUpdates": True,
        }
    )
    api = exchange.urls["api"]
    for name, url in api.items():
        if isinstance(url, str) and url.startswith("https://fapi.binance.com"):
            api[name] = url.replace("https://fapi.binance.com", HTTP)
    api["fapiData"] = f"{HTTP}/futures/data"
    api["ws"]["linear"] = f"{WS}/ws"
    api["ws"]["ws-api"]["linear"] = f"{WS}/ws-fapi/v1"
    return exchange


class Watch:
    """Collects everything that the user streams bring."""

    def __init__(self, exchange: ccxt.pro.binanceusdm) -> None:
        self.orders: list[Any] = []
        self.trades: list[Any] = []
        self.positions: list[Any] = []
        self.balances: list[Any] = []
        self._exchange = exchange
        self._tasks = [
            asyncio.create_task(self._collect(lambda: exchange.watch_orders(SYMBOL), self.orders)),
            asyncio.create_task(self._collect(lambda: exchange.watch_my_trades(SYMBOL), self.trades)),
            asyncio.create_task(self._collect(lambda: exchange.watch_positions([SYMBOL]), self.positions)),
            asyncio.create_task(self._collect(exchange.watch_balance, self.balances)),
        ]

    @staticmethod
    async def _collect(watch: Any, into: list[Any]) -> None:
        while True:
            update = await watch()
            into.extend(update if isinstance(update, list) else [update])

    async def order(self, order_id: str, **wanted: object) -> Any:
        """Wait for an update of an order with these fields."""

        def found() -> Any:
            for task in self._tasks:
                if task.done():
                    task.result()
            rows = [o for o in self.orders if o["id"] == order_id]
            return next((o for o in rows if all(o[k] == v for k, v in wanted.items())), None)

        return await until(found, f"event of order {order_id} with {wanted}")

    def position(self, contracts: float, side: str) -> bool:
        """True once an event told such a position. The client hands an event on only to who waits at that
        moment; what it was told in between is in its cache."""
        cached = [one for cache in dict(self._exchange.positions or {}).values() for one in cache]
        return any(
            one["contracts"] == contracts and one["side"] == side for one in [*self.positions, *cached]
        )

    async def stop(self) -> None:
        """End the collectors."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def quotes(exchange: ccxt.pro.binanceusdm, steps: Steps) -> None:
    """Markets, and every kind of market stream."""
    async with steps.step("load the markets") as note:
        market = (await exchange.load_markets())[SYMBOL]
        assert market["id"] == "BTCUSDT"
        assert market["swap"]
        assert market["linear"]
        assert market["contractSize"] == 1
        assert market["precision"]["price"] == 0.1
        assert market["precision"]["amount"] in (0.001, 0.0001)
        note(len(exchange.markets), "markets")
    async with steps.step("stream quotes") as note:
        book = (await exchange.watch_bids_asks([SYMBOL]))[SYMBOL]
        assert 0 < book["bid"] < book["ask"]
        note("bid", book["bid"], "ask", book["ask"])
    async with steps.step("stream the mark price"):
        assert (await exchange.watch_mark_price(SYMBOL))["markPrice"] > 0
    async with steps.step("stream the order book"):
        depth = await exchange.watch_order_book(SYMBOL)
        assert depth["bids"][0][0] < depth["asks"][0][0]
        first = depth["nonce"]
        while (await exchange.watch_order_book(SYMBOL))["nonce"] == first:
            pass
    async with steps.step("stream trades"):
        trade = (await exchange.watch_trades(SYMBOL))[-1]
        assert trade["price"] > 0
        assert trade["amount"] > 0
    async with steps.step("stream candles"):
        candle = (await exchange.watch_ohlcv(SYMBOL, "1m"))[-1]
        assert candle[3] <= candle[4] <= candle[2]


async def far_below(exchange: ccxt.pro.binanceusdm) -> float:
    """Return a price at which a buy order rests."""
    last = (await exchange.fetch_ticker(SYMBOL))["last"]
    return float(exchange.price_to_precision(SYMBOL, last * 0.9))


async def order_life(
    exchange: ccxt.pro.binanceusdm, steps: Steps, watch: Watch, params: dict[str, Any]
) -> None:
    """Place, query, amend, cancel."""
    low = await far_below(exchange)
    async with steps.step("place a limit order, with its event") as note:
        placed = await exchange.create_order(SYMBOL, "limit", "buy", AMOUNT, low, params)
        assert placed["status"] == "open"
        event = await watch.order(placed["id"], status="open")
        assert event["price"] == low
        assert event["amount"] == AMOUNT
        assert event["side"] == "buy"
        assert event["clientOrderId"] == placed["clientOrderId"]
        note(placed["id"], "at", low)
    async with steps.step("query it"):
        fetched = await exchange.fetch_order(placed["id"], SYMBOL)
        assert fetched["price"] == low
        assert fetched["filled"] == 0
        assert fetched["remaining"] == AMOUNT
        assert [o["id"] for o in await exchange.fetch_open_orders(SYMBOL)] == [placed["id"]]
    async with steps.step("amend it, with its event"):
        changed = await exchange.edit_order(
            placed["id"], SYMBOL, "limit", "buy", AMOUNT * 2, low - 100, params
        )
        assert changed["id"] == placed["id"]
        assert changed["price"] == low - 100
        event = await watch.order(placed["id"], price=low - 100)
        assert event["amount"] == AMOUNT * 2
        assert event["info"]["x"] == "AMENDMENT"
    async with steps.step("cancel it, with its event"):
        cancelled = await exchange.cancel_order(placed["id"], SYMBOL)
        assert cancelled["status"] == "canceled"
        await watch.order(placed["id"], status="canceled")
        assert await exchange.fetch_open_orders(SYMBOL) == []


async def batches(exchange: ccxt.pro.binanceusdm, steps: Steps, params: dict[str, Any]) -> None:
    """Place, amend and cancel several at once."""
    low = await far_below(exchange)
    common = {"symbol": SYMBOL, "type": "limit", "side": "buy", "params": params}
    async with steps.step("place a batch, one element refused"):
        wanted = [(AMOUNT, low - n) for n in (0, 10, 20)] + [(0.001, 1000.0)]
        answers = await exchange.create_orders(
            [{**common, "amount": size, "price": price} for size, price in wanted]
        )
        good = [a for a in answers if a["status"] == "open"]  # ccxt sorts the answers by their time
        bad = [a["info"]["code"] for a in answers if a["status"] == "rejected"]
        assert [a["price"] for a in good] == [price for _, price in wanted[:3]], answers
        assert len(bad) == 1, answers
        assert bad[0] in (-4164, -4016, -4024), answers
        ids = [a["id"] for a in good]
    async with steps.step("amend the batch"):
        changed = await exchange.edit_orders(
            [
                {**common, "id": order_id, "amount": AMOUNT, "price": low - 200 - n}
                for n, order_id in enumerate(ids)
            ]
        )
        assert [a["price"] for a in changed] == [low - 200, low - 201, low - 202]
    async with steps.step("cancel the batch"):
        answers = await exchange.cancel_orders([*ids, "999999999999"], SYMBOL)
        assert sorted(a["id"] for a in answers if a["status"] == "canceled") == sorted(ids)
        assert len(answers) == 3, answers  # ccxt drops the element that answers -2011 for the unknown id
    async with steps.step("cancel all"):
        for n in range(3):
            await exchange.create_order(SYMBOL, "limit", "buy", AMOUNT, low - n, params)
        await exchange.cancel_all_orders(SYMBOL)
        assert await exchange.fetch_open_orders(SYMBOL) == []


async def conditional(exchange: ccxt.pro.binanceusdm, steps: Steps, params: dict[str, Any]) -> None:
    """Stop, take-profit and trailing orders, which the venue's algo service holds."""
    last = (await exchange.fetch_ticker(SYMBOL))["last"]
    kinds = {
        "stop market": {"triggerPrice": last * 1.05},
        "take profit": {"takeProfitPrice": last * 0.95},
        "trailing stop": {"trailingPercent": 1.5},
    }
    async with steps.step("conditional orders: place, query, cancel"):
        made = {}
        for name, extra in kinds.items():
            order = await exchange.create_order(SYMBOL, "market", "buy", AMOUNT, None, {**extra, **params})
            made[name] = order["id"]
        open_ids = {o["id"] for o in await exchange.fetch_open_orders(SYMBOL, params={"trigger": True})}
        assert open_ids == set(made.values()), (open_ids, made)
        for order_id in made.values():
            found = await exchange.fetch_order(order_id, SYMBOL, {"trigger": True})
            assert found["amount"] == AMOUNT
            await exchange.cancel_order(order_id, SYMBOL, {"trigger": True})
        assert await exchange.fetch_open_orders(SYMBOL, params={"trigger": True}) == []


async def stop_loss(
    exchange: ccxt.pro.binanceusdm, steps: Steps, watch: Watch, params: dict[str, Any]
) -> None:
    """A stop that the market reaches."""
    async with steps.step("a stop closes the position when the market gets there") as note:
        opened_order = await exchange.create_order(SYMBOL, "market", "buy", AMOUNT, None, params)
        last = (await exchange.fetch_ticker(SYMBOL))["last"]
        known = {o["id"] for o in watch.orders} | {opened_order["id"]}
        extra = {"stopLossPrice": last * 0.995, "reduceOnly": True, **params}
        stop = await exchange.create_order(SYMBOL, "market", "sell", AMOUNT, None, extra)
        await move_market("BTCUSDT", "0.99")
        try:

            def done() -> Any:
                rows = [o for o in watch.orders if o["id"] not in known and o["side"] == "sell"]
                return next((o for o in rows if o["status"] == "closed" and o["filled"] == AMOUNT), None)

            closed = await until(done, "the order of the stop")
            assert await held(exchange) == {}
            assert (await exchange.fetch_order(stop["id"], SYMBOL, {"trigger": True}))["status"] == "closed"
            note("sold at", closed["average"])
        finally:
            await move_market("BTCUSDT")


async def wallet(exchange: ccxt.pro.binanceusdm) -> Decimal:
    """Return the wallet balance in USDT."""
    assets = (await exchange.fetch_balance())["info"]["assets"]
    return next(Decimal(a["walletBalance"]) for a in assets if a["asset"] == "USDT")


async def held(exchange: ccxt.pro.binanceusdm) -> dict[str, float]:
    """Return the open positions by side."""
    rows = await exchange.fetch_positions([SYMBOL])
    return {p["side"]: p["contracts"] for p in rows if p["contracts"]}


async def trades(exchange: ccxt.pro.binanceusdm) -> dict[str, Any]:
    """Return all trades of the account as the exchange sent them, by id."""
    return {t["id"]: t["info"] for t in await exchange.fetch_my_trades(SYMBOL, limit=1000)}


async def round_trip(exchange: ccxt.pro.binanceusdm, steps: Steps, watch: Watch, hedged: bool) -> None:
    """Open and close, and account for every cent."""
    assert await held(exchange) == {}
    before, known = await wallet(exchange), await trades(exchange)
    sides = ("buy", "sell") if hedged else ("buy",)
    await opened(exchange, steps, watch, sides)
    for side in sides:
        async with steps.step(f"close the {'long' if side == 'buy' else 'short'}"):
            back = "sell" if side == "buy" else "buy"
            extra = {"hedged": True, "reduceOnly": True} if hedged else {"reduceOnly": True}
            order = await exchange.create_order(SYMBOL, "market", back, AMOUNT, None, extra)
            assert order["filled"] == AMOUNT
            await watch.order(order["id"], status="closed")
    async with steps.step("flat, and the balance moved by PnL less fees") as note:
        assert await held(exchange) == {}
        rows = [row for key, row in (await trades(exchange)).items() if key not in known]
        bought = sum(Decimal(t["qty"]) for t in rows if t["side"] == "BUY")
        assert same(bought, sum(Decimal(t["qty"]) for t in rows if t["side"] == "SELL"))
        assert same(bought, Decimal(str(AMOUNT)) * len(sides))
        change = sum(Decimal(t["realizedPnl"]) - Decimal(t["commission"]) for t in rows)
        after = await wallet(exchange)
        assert after - before == change, (before, after, change)
        assert change != 0
        await until(
            lambda: any(same(b["info"]["a"]["B"][0]["wb"], after) for b in watch.balances if b.get("info")),
            "balance event",
        )
        note("wallet", change)


async def opened(exchange: ccxt.pro.binanceusdm, steps: Steps, watch: Watch, sides: tuple[str, ...]) -> None:
    """Open a position on each side, and see its events."""
    hedged = len(sides) > 1
    for side in sides:
        direction = "long" if side == "buy" else "short"
        async with steps.step(f"open a {direction}, with its events") as note:
            extra = {"hedged": True} if hedged else {}
            order = await exchange.create_order(SYMBOL, "market", side, AMOUNT, None, extra)
            assert order["status"] == "closed"
            assert order["filled"] == AMOUNT
            event = await watch.order(order["id"], status="closed")
            assert event["filled"] == AMOUNT
            assert event["average"] > 0
            trade = await until(
                lambda order=order: next((t for t in watch.trades if t["order"] == order["id"]), None),
                "trade",
            )
            assert trade["fee"]["currency"] == "USDT"
            assert trade["fee"]["cost"] > 0
            await until(lambda direction=direction: watch.position(AMOUNT, direction), "position event")
            note(AMOUNT, "at", event["average"])
    async with steps.step("the position is there"):
        expected = {"long": AMOUNT, "short": AMOUNT} if hedged else {"long": AMOUNT}
        assert await held(exchange) == expected


async def mode(exchange: ccxt.pro.binanceusdm, hedged: bool) -> int:
    """Everything in one position mode; returns the number of failures."""
    steps = Steps("hedge" if hedged else "one-way")
    watch = None
    with contextlib.suppress(Stop):
        async with steps.step("set the position mode"):
            await exchange.cancel_all_orders(SYMBOL)
            if (await exchange.fetch_position_mode(SYMBOL))["hedged"] != hedged:
                await exchange.set_position_mode(hedged)
            assert (await exchange.fetch_position_mode(SYMBOL))["hedged"] == hedged
        async with steps.step("open the user stream"):
            watch = Watch(exchange)
            await asyncio.sleep(0.5)
        params = {"hedged": True} if hedged else {}
        await order_life(exchange, steps, watch, params)
        await batches(exchange, steps, params)
        await round_trip(exchange, steps, watch, hedged)
        await conditional(exchange, steps, params)
        await stop_loss(exchange, steps, watch, params)
    if watch:
        await watch.stop()
    return steps.failed


async def main() -> int:
    """Run the flow in both modes."""
    exchange = connected()
    steps = Steps()
    try:
        with contextlib.suppress(Stop):
            await quotes(exchange, steps)
        failed = steps.failed
        for hedged in (True, False):
            failed += await mode(exchange, hedged)
        failed += await all_calls(exchange)
    finally:
        await exchange.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
