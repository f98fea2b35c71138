"""Single methods of ccxt, each called and its answer checked: one-way mode, no position before or after."""

from collections.abc import Awaitable, Callable
from typing import Any

import ccxt.pro
from steps import Steps

SYMBOL, OTHER = "BTC/USDT:USDT", "ETH/USDT:USDT"
Row = tuple[str, Callable[[], Awaitable[Any]], Callable[[Any], object]]


def market_data(e: ccxt.pro.binanceusdm) -> list[Row]:
    """REST market data."""
    return [
        ("fetch_time", e.fetch_time, lambda a: a > 1.7e12),
        ("fetch_ticker", lambda: e.fetch_ticker(SYMBOL), lambda a: a["last"] > 0),
        ("fetch_tickers", e.fetch_tickers, lambda a: SYMBOL in a and OTHER in a),
        ("fetch_bids_asks", e.fetch_bids_asks, lambda a: a[SYMBOL]["bid"] < a[SYMBOL]["ask"]),
        ("fetch_last_prices", e.fetch_last_prices, lambda a: a[SYMBOL]["price"] > 0),
        ("fetch_mark_price", lambda: e.fetch_mark_price(SYMBOL), lambda a: a["markPrice"] > 0),
        ("fetch_mark_prices", e.fetch_mark_prices, lambda a: SYMBOL in a),
        ("fetch_order_book", lambda: e.fetch_order_book(SYMBOL, 50), lambda a: a["bids"] and a["asks"]),
        ("fetch_trades", lambda: e.fetch_trades(SYMBOL, limit=20), lambda a: a and a[-1]["price"] > 0),
        (
            "fetch_trades (raw)",
            lambda: e.fetch_trades(SYMBOL, None, 20, {"fetchTradesMethod": "fapiPublicGetTrades"}),
            lambda a: a and a[-1]["amount"] > 0,
        ),
        ("fetch_ohlcv", lambda: e.fetch_ohlcv(SYMBOL, "1m", limit=20), lambda a: a and len(a[0]) == 6),
        ("fetch_mark_ohlcv", lambda: e.fetch_mark_ohlcv(SYMBOL, "1m", limit=5), lambda a: len(a) > 0),
        ("fetch_index_ohlcv", lambda: e.fetch_index_ohlcv(SYMBOL, "1m", limit=5), lambda a: len(a) > 0),
        (
            "fetch_premium_index_ohlcv",
            lambda: e.fetch_premium_index_ohlcv(SYMBOL, "1m", limit=5),
            lambda a: len(a) > 0,
        ),
        ("fetch_funding_rate", lambda: e.fetch_funding_rate(SYMBOL), lambda a: a["fundingTimestamp"] > 0),
        ("fetch_funding_rates", e.fetch_funding_rates, lambda a: SYMBOL in a),
        (
            "fetch_funding_rate_history",
            lambda: e.fetch_funding_rate_history(SYMBOL, limit=3),
            lambda a: isinstance(a, list),
        ),
        ("fetch_funding_intervals", e.fetch_funding_intervals, lambda a: isinstance(a, dict)),
        ("fetch_open_interest", lambda: e.fetch_open_interest(SYMBOL), lambda a: a["symbol"] == SYMBOL),
        (
            "fetch_open_interest_history",
            lambda: e.fetch_open_interest_history(SYMBOL, "5m"),
            lambda a: a and a[-1]["openInterestAmount"] >= 0,
        ),
        (
            "fetch_long_short_ratio_history",
            lambda: e.fetch_long_short_ratio_history(SYMBOL, "5m"),
            lambda a: a and a[-1]["longShortRatio"] > 0,
        ),
        ("fetch_adl_rank", lambda: e.fetch_adl_rank(SYMBOL), lambda a: a is not None),
    ]


def account(e: ccxt.pro.binanceusdm) -> list[Row]:
    """REST account data and settings."""
    return [
        ("fetch_balance", e.fetch_balance, lambda a: a["USDT"]["total"] > 0),
        ("fetch_balance v2", lambda: e.fetch_balance({"useV2": True}), lambda a: a["USDT"]["total"] > 0),
        ("fetch_positions", e.fetch_positions, lambda a: isinstance(a, list)),
        (
            "fetch_positions (account)",
            lambda: e.fetch_positions(None, {"method": "account"}),
            lambda a: isinstance(a, list),
        ),
        ("fetch_account_positions", e.fetch_account_positions, lambda a: isinstance(a, list)),
        ("fetch_positions_risk", e.fetch_positions_risk, lambda a: isinstance(a, list)),
        ("fetch_leverage_tiers", lambda: e.fetch_leverage_tiers([SYMBOL]), lambda a: len(a[SYMBOL]) > 3),
        ("fetch_leverages", e.fetch_leverages, lambda a: a[SYMBOL]["longLeverage"] > 0),
        ("fetch_leverage", lambda: e.fetch_leverage(SYMBOL), lambda a: a["longLeverage"] > 0),
        ("fetch_margin_modes", e.fetch_margin_modes, lambda a: a[SYMBOL]["marginMode"] == "cross"),
        ("fetch_margin_mode", lambda: e.fetch_margin_mode(SYMBOL), lambda a: a["marginMode"] == "cross"),
        ("fetch_position_mode", lambda: e.fetch_position_mode(SYMBOL), lambda a: a["hedged"] is False),
        ("fetch_trading_fee", lambda: e.fetch_trading_fee(SYMBOL), lambda a: a["taker"] > a["maker"]),
        ("fetch_trading_fees", e.fetch_trading_fees, lambda a: a[SYMBOL]["taker"] > 0),
        ("fetch_orders", lambda: e.fetch_orders(SYMBOL, limit=50), lambda a: len(a) > 0),
        ("fetch_closed_orders", lambda: e.fetch_closed_orders(SYMBOL), lambda a: len(a) > 0),
        ("fetch_canceled_orders", lambda: e.fetch_canceled_orders(SYMBOL), lambda a: len(a) > 0),
        (
            "fetch_canceled_and_closed_orders",
            lambda: e.fetch_canceled_and_closed_orders(SYMBOL),
            lambda a: len(a) > 0,
        ),
        ("fetch_my_trades", lambda: e.fetch_my_trades(SYMBOL), lambda a: a[-1]["fee"]["currency"] == "USDT"),
        ("fetch_ledger", lambda: e.fetch_ledger("USDT"), lambda a: {"fee", "trade"} & {r["type"] for r in a}),
        ("fetch_funding_history", lambda: e.fetch_funding_history(SYMBOL), lambda a: isinstance(a, list)),
        ("fetch_my_liquidations", lambda: e.fetch_my_liquidations(SYMBOL), lambda a: a == []),
        (
            "fetch_margin_adjustment_history",
            lambda: e.fetch_margin_adjustment_history(SYMBOL),
            lambda a: isinstance(a, list),
        ),
        ("set_leverage", lambda: e.set_leverage(10, SYMBOL), lambda a: int(a["leverage"]) == 10),
        (
            "set_margin_mode cross",
            lambda: refusal(e.set_margin_mode("cross", SYMBOL)),
            lambda t: "-4046" in t,
        ),
        (
            "set_margin_mode isolated, add_margin, reduce_margin, and back",
            lambda: isolated_position(e),
            lambda a: (
                a["modes"] == ["isolated", "isolated", "cross"]
                and a["added"] == 30
                and a["collateral"] > 0
                and [m["type"] for m in a["changes"]] == ["add", "reduce"]
            ),
        ),
    ]


async def isolated_position(e: ccxt.Exchange) -> dict[str, Any]:
    """Return what ccxt shows of a small position on isolated margin; flat and on cross margin afterwards."""
    await e.set_margin_mode("isolated", SYMBOL)
    modes = [(await e.fetch_margin_mode(SYMBOL))["marginMode"]]
    await e.create_order(SYMBOL, "market", "buy", 0.02)
    (before,) = await e.fetch_positions_risk([SYMBOL])
    modes.append(before["marginMode"])
    changes = [await e.add_margin(SYMBOL, 50), await e.reduce_margin(SYMBOL, 20)]
    (after,) = await e.fetch_positions_risk([SYMBOL])
    await e.create_order(SYMBOL, "market", "sell", 0.02, None, {"reduceOnly": True})
    await e.set_margin_mode("cross", SYMBOL)
    modes.append((await e.fetch_margin_mode(SYMBOL))["marginMode"])
    own = [float(p["info"]["isolatedWallet"]) for p in (before, after)]
    return {
        "modes": modes,
        "changes": changes,
        "added": round(own[1] - own[0], 6),
        "collateral": before["collateral"],
    }


async def refusal(call: Awaitable[Any]) -> str:
    """Return the text of the refusal, or what was accepted instead."""
    try:
        accepted = await call
    except ccxt.BaseError as error:
        return str(error)
    return f"accepted: {accepted}"


async def order_kinds(e: ccxt.pro.binanceusdm, steps: Steps) -> None:
    """Orders of further kinds, refusals by their ccxt classes, and the WebSocket trading API."""
    ticker = (await e.fetch_bids_asks())[SYMBOL]
    low = float(e.price_to_precision(SYMBOL, ticker["bid"] * 0.9))
    high = float(e.price_to_precision(SYMBOL, ticker["ask"] * 1.01))

    def place(*arguments: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: e.create_order(*arguments)

    post = {"postOnly": True}
    await steps.call(
        "create_order postOnly",
        place(SYMBOL, "limit", "buy", 0.01, low, post),
        lambda a: a["timeInForce"] == "PO" and a["status"] == "open",
    )
    await steps.call(
        "create_order postOnly that takes",
        lambda: refusal(e.create_order(SYMBOL, "limit", "buy", 0.01, high, post)),
        lambda text: "-5022" in text,
    )
    await steps.call(
        "create_order FOK unfillable",
        lambda: refusal(e.create_order(SYMBOL, "limit", "buy", 0.01, low, {"timeInForce": "FOK"})),
        lambda text: "-5021" in text,
    )
    await steps.call(
        "create_order IOC",
        place(SYMBOL, "limit", "buy", 0.01, low, {"timeInForce": "IOC"}),
        lambda a: a["status"] in ("expired", "canceled") and a["filled"] == 0,
    )
    await further_kinds(e, steps, low)
    await socket_api(e, steps, low)


async def further_kinds(e: ccxt.pro.binanceusdm, steps: Steps, low: float) -> None:
    """Orders with a date, with a matched price, too big ones; cancelling by own ids."""

    def place(*arguments: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: e.create_order(*arguments)

    date = (e.milliseconds() // 1000 + 900) * 1000
    await steps.call(
        "create_order GTD",
        place(SYMBOL, "limit", "buy", 0.01, low, {"timeInForce": "GTD", "goodTillDate": date}),
        lambda a: a["status"] == "open",
    )
    await steps.call(
        "create_order priceMatch",
        place(SYMBOL, "limit", "buy", 0.01, None, {"priceMatch": "QUEUE_5"}),
        lambda a: a["status"] == "open" and a["price"] > 0,
    )
    await steps.call(
        "create_order too big",
        lambda: refusal(e.create_order(SYMBOL, "limit", "buy", 900, low)),
        lambda text: "-2019" in text or "-2027" in text,
    )
    await steps.call(
        "cancel_orders by client id",
        lambda: by_client_ids(e, low),
        lambda answers: [a["status"] for a in answers] == ["canceled", "canceled"],
    )
    await steps.call("cancel_all_orders", lambda: e.cancel_all_orders(SYMBOL), lambda a: a is not None)


async def by_client_ids(e: ccxt.pro.binanceusdm, low: float) -> Any:
    """Place two orders under own ids; cancel them by these."""
    ids = ["ccxt-a-1", "ccxt-a-2"]
    for client_id in ids:
        await e.create_order(SYMBOL, "limit", "buy", 0.01, low, {"clientOrderId": client_id})
    return await e.cancel_orders([], SYMBOL, {"clientOrderIds": ids})


async def socket_api(e: ccxt.pro.binanceusdm, steps: Steps, low: float) -> None:
    """What ccxt does over the WebSocket trading API."""
    made: dict[str, Any] = {}

    async def placed() -> Any:
        made["order"] = await e.create_order_ws(SYMBOL, "limit", "buy", 0.01, low)
        return made["order"]

    await steps.call("create_order_ws", placed, lambda a: a["status"] == "open")
    if not made:
        return
    order_id = made["order"]["id"]
    rows: list[Row] = [
        (
            "edit_order_ws",
            lambda: e.edit_order_ws(order_id, SYMBOL, "limit", "buy", 0.02, low - 10),
            lambda a: a["price"] == low - 10,
        ),
        ("fetch_order_ws", lambda: e.fetch_order_ws(order_id, SYMBOL), lambda a: a["amount"] == 0.02),
        ("cancel_order_ws", lambda: e.cancel_order_ws(order_id, SYMBOL), lambda a: a["status"] == "canceled"),
        ("fetch_balance_ws", e.fetch_balance_ws, lambda a: a["USDT"]["total"] > 0),
        ("fetch_positions_ws", lambda: e.fetch_positions_ws([SYMBOL]), lambda a: isinstance(a, list)),
        ("fetch_order_book_ws", lambda: e.fetch_order_book_ws(SYMBOL, 50), lambda a: a["bids"]),
        ("fetch_ticker_ws", lambda: e.fetch_ticker_ws(SYMBOL), lambda a: a["symbol"] == SYMBOL),
    ]
    for row in rows:
        await steps.call(*row)


def streams(e: ccxt.pro.binanceusdm) -> list[Row]:
    """Market streams beside those of the flow."""
    return [
        ("watch_ticker", lambda: e.watch_ticker(SYMBOL), lambda a: a["last"] > 0),
        ("watch_tickers", lambda: e.watch_tickers([SYMBOL, OTHER]), lambda a: len(a) > 0),
        ("watch_mark_prices", lambda: e.watch_mark_prices([SYMBOL]), lambda a: SYMBOL in a),
        (
            "watch_trades_for_symbols",
            lambda: e.watch_trades_for_symbols([SYMBOL, OTHER]),
            lambda a: a[-1]["price"] > 0,
        ),
        (
            "watch_order_book_for_symbols",
            lambda: e.watch_order_book_for_symbols([SYMBOL, OTHER]),
            lambda a: a["bids"],
        ),
        (
            "watch_ohlcv_for_symbols",
            lambda: e.watch_ohlcv_for_symbols([[SYMBOL, "1m"], [OTHER, "5m"]]),
            lambda a: len(a) > 0,
        ),
        ("un_watch_order_book", lambda: e.un_watch_order_book(SYMBOL), lambda a: True),
    ]


async def all_calls(e: ccxt.pro.binanceusdm) -> int:
    """Make every call; return the number of failures."""
    steps = Steps()
    for row in market_data(e) + account(e):
        await steps.call(*row)
    await order_kinds(e, steps)
    for row in streams(e):
        await steps.call(*row)
    return steps.failed
