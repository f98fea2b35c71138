"""Single methods of python-binance, each called and its answer checked, in one-way mode."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from binance import AsyncClient, BinanceSocketManager
from binance.exceptions import BinanceAPIException
from steps import Steps

SYMBOL, OTHER = "BTCUSDT", "ETHUSDT"
Row = tuple[str, Callable[[], Awaitable[Any]], Callable[[Any], object]]


def market_data(c: AsyncClient) -> list[Row]:
    """REST market data."""
    minute = {"symbol": SYMBOL, "interval": "1m", "limit": 5}

    def rows(answer: Any) -> bool:
        return isinstance(answer, list) and len(answer) > 0

    def candles(answer: Any) -> bool:
        return rows(answer) and len(answer[0]) == 12

    return [
        ("futures_ping", c.futures_ping, lambda a: a == {}),
        ("futures_time", c.futures_time, lambda a: a["serverTime"] > 0),
        ("futures_order_book", lambda: c.futures_order_book(symbol=SYMBOL, limit=10), lambda a: a["bids"]),
        ("futures_recent_trades", lambda: c.futures_recent_trades(symbol=SYMBOL, limit=5), rows),
        ("futures_historical_trades", lambda: c.futures_historical_trades(symbol=SYMBOL, limit=5), rows),
        ("futures_aggregate_trades", lambda: c.futures_aggregate_trades(symbol=SYMBOL, limit=5), rows),
        ("futures_klines", lambda: c.futures_klines(**minute), candles),
        ("futures_mark_price_klines", lambda: c.futures_mark_price_klines(**minute), candles),
        (
            "futures_index_price_klines",
            lambda: c.futures_index_price_klines(pair=SYMBOL, interval="1m", limit=5),
            candles,
        ),
        ("futures_premium_index_klines", lambda: c.futures_premium_index_klines(**minute), candles),
        (
            "futures_continuous_klines",
            lambda: c.futures_continuous_klines(
                pair=SYMBOL, contractType="PERPETUAL", interval="1m", limit=5
            ),
            candles,
        ),
        (
            "futures_mark_price",
            lambda: c.futures_mark_price(symbol=SYMBOL),
            lambda a: Decimal(a["markPrice"]),
        ),
        ("futures_mark_price of all", c.futures_mark_price, rows),
        ("futures_funding_rate", lambda: c.futures_funding_rate(symbol=SYMBOL), lambda a: a is not None),
        ("futures_v1_get_funding_info", c.futures_v1_get_funding_info, lambda a: isinstance(a, list)),
        ("futures_ticker", lambda: c.futures_ticker(symbol=SYMBOL), lambda a: Decimal(a["lastPrice"]) > 0),
        ("futures_symbol_ticker", c.futures_symbol_ticker, rows),
        ("futures_orderbook_ticker", c.futures_orderbook_ticker, rows),
        ("futures_open_interest", lambda: c.futures_open_interest(symbol=SYMBOL), lambda a: a["symbol"]),
        (
            "futures_open_interest_hist",
            lambda: c.futures_open_interest_hist(symbol=SYMBOL, period="5m"),
            lambda a: Decimal(a[-1]["sumOpenInterest"]) >= 0,
        ),
        ("futures_symbol_adl_risk", lambda: c.futures_symbol_adl_risk(symbol=SYMBOL), lambda a: a),
        (
            "futures_index_price_constituents",
            lambda: c.futures_index_price_constituents(symbol=SYMBOL),
            lambda a: a["symbol"] == SYMBOL,
        ),
    ]


def account(c: AsyncClient) -> list[Row]:
    """REST account data and settings."""
    one = {"symbol": SYMBOL}
    return [
        ("futures_account", c.futures_account, lambda a: Decimal(a["totalWalletBalance"]) > 0),
        ("futures_account_balance", c.futures_account_balance, lambda a: a[0]["asset"]),
        ("futures_account_config", c.futures_account_config, lambda a: a["dualSidePosition"] is False),
        ("futures_symbol_config", lambda: c.futures_symbol_config(**one), lambda a: a[0]["leverage"] > 0),
        ("futures_position_information", c.futures_position_information, lambda a: isinstance(a, list)),
        (
            "futures_leverage_bracket",
            lambda: c.futures_leverage_bracket(**one),
            lambda a: (a[0] if isinstance(a, list) else a)["brackets"],
        ),
        (
            "futures_commission_rate",
            lambda: c.futures_commission_rate(**one),
            lambda a: Decimal(a["takerCommissionRate"]) > 0,
        ),
        ("futures_adl_quantile_estimate", c.futures_adl_quantile_estimate, lambda a: isinstance(a, list)),
        ("futures_api_trading_status", c.futures_api_trading_status, lambda a: "indicators" in a),
        ("futures_liquidation_orders", c.futures_liquidation_orders, lambda a: a == []),
        ("futures_get_all_orders", lambda: c.futures_get_all_orders(**one), lambda a: len(a) > 5),
        (
            "futures_account_trades",
            lambda: c.futures_account_trades(**one),
            lambda a: a[0]["commissionAsset"],
        ),
        (
            "futures_income_history",
            lambda: c.futures_income_history(incomeType="COMMISSION"),
            lambda a: len(a) > 0 and Decimal(a[0]["income"]) < 0,
        ),
        ("futures_get_position_mode", c.futures_get_position_mode, lambda a: a["dualSidePosition"] is False),
        (
            "futures_get_multi_assets_mode",
            c.futures_get_multi_assets_mode,
            lambda a: a["multiAssetsMargin"] is False,
        ),
        (
            "futures_change_leverage",
            lambda: c.futures_change_leverage(**one, leverage=7),
            lambda a: a["leverage"] == 7,
        ),
        (
            "futures_position_margin_history",
            lambda: c.futures_position_margin_history(**one),
            lambda a: isinstance(a, list),
        ),
        ("futures_create_test_order", lambda: test_order(c), lambda a: isinstance(a, dict)),
        ("listen key: get, keep alive, close", lambda: listen_key(c), lambda a: a),
        ("futures_change_margin_type", lambda: margin_type(c), lambda codes: codes == [200, 200, -4046]),
    ]


async def test_order(c: AsyncClient) -> Any:
    """An order that is only checked."""
    return await c.futures_create_test_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.01")


async def listen_key(c: AsyncClient) -> bool:
    """The key's life; the account has one key however often it is asked for."""
    key = await c.futures_stream_get_listen_key()
    same = await c.futures_stream_get_listen_key() == key
    await c.futures_stream_keepalive(key)
    await c.futures_stream_close(key)
    return same


async def margin_type(c: AsyncClient) -> list[int]:
    """To isolated and back to crossed, which it is then already."""
    codes = []
    for kind in ("ISOLATED", "CROSSED", "CROSSED"):
        try:
            codes.append((await c.futures_change_margin_type(symbol=OTHER, marginType=kind))["code"])
        except BinanceAPIException as error:
            codes.append(error.code)
    return codes


async def shorthand_orders(c: AsyncClient, steps: Steps) -> None:
    """The methods that name side and type themselves, and refusals by their codes."""
    last = Decimal((await c.futures_symbol_ticker(symbol=SYMBOL))["price"])
    low = str((last * Decimal("0.9")).quantize(Decimal("0.1")))
    high = str((last * Decimal("1.01")).quantize(Decimal("0.1")))
    limit = {"symbol": SYMBOL, "timeInForce": "GTC", "quantity": "0.01"}

    async def refused(**order: str) -> int:
        try:
            await c.futures_create_order(symbol=SYMBOL, side="BUY", quantity="0.01", **order)
        except BinanceAPIException as error:
            return int(error.code)
        return 0

    def code(wanted: int) -> Callable[[Any], object]:
        return lambda found: found == wanted

    rows: list[Row] = [
        (
            "futures_limit_buy_order",
            lambda: c.futures_limit_buy_order(**limit, price=low),
            lambda a: a["side"] == "BUY" and a["status"] == "NEW",
        ),
        (
            "futures_market_buy_order",
            lambda: c.futures_market_buy_order(symbol=SYMBOL, quantity="0.01"),
            lambda a: a["type"] == "MARKET",
        ),
        (
            "futures_market_sell_order",
            lambda: c.futures_market_sell_order(symbol=SYMBOL, quantity="0.01"),
            lambda a: a["side"] == "SELL",
        ),
        (
            "futures_cancel_all_open_orders",
            lambda: c.futures_cancel_all_open_orders(symbol=SYMBOL),
            lambda a: int(a["code"]) == 200,
        ),
        (
            "refused: post-only that takes",
            lambda: refused(type="LIMIT", timeInForce="GTX", price=high),
            code(-5022),
        ),
        ("refused: FOK", lambda: refused(type="LIMIT", timeInForce="FOK", price=low), code(-5021)),
        (
            "refused: tick size",
            lambda: refused(type="LIMIT", timeInForce="GTC", price="61000.05"),
            code(-4014),
        ),
        ("refused: position side", lambda: refused(type="MARKET", positionSide="LONG"), code(-4061)),
        ("refused: no position", lambda: refused(type="MARKET", reduceOnly="true"), code(-2022)),
        ("refused: price missing", lambda: refused(type="LIMIT", timeInForce="GTC"), code(-1102)),
        ("refused: type unknown", lambda: refused(type="DANCE"), code(-1116)),
    ]
    for row in rows:
        await steps.call(*row)


def sockets(c: AsyncClient, manager: BinanceSocketManager) -> list[Row]:
    """Sockets beside those of the flow, and the WebSocket API's queries."""
    lower = SYMBOL.lower()

    def first(socket: Any) -> Callable[[], Awaitable[Any]]:
        async def received() -> Any:
            async with socket as opened:
                answer = await opened.recv()
            return answer.get("data", answer) if isinstance(answer, dict) else answer

        return received

    return [
        ("futures_depth_socket", first(manager.futures_depth_socket(SYMBOL)), lambda a: a["b"] or a["a"]),
        (
            "individual_symbol_ticker_futures_socket",
            first(manager.individual_symbol_ticker_futures_socket(SYMBOL)),
            lambda a: a["e"] == "24hrTicker",
        ),
        ("futures_ticker_socket", first(manager.futures_ticker_socket()), lambda a: a),
        (
            "futures_multiplex_socket public",
            first(manager.futures_multiplex_socket([f"{lower}@bookTicker"], category="public")),
            lambda a: a["e"] == "bookTicker",
        ),
        (
            "symbol_mark_price_socket",
            first(manager.symbol_mark_price_socket(SYMBOL)),
            lambda a: a["e"] == "markPriceUpdate",
        ),
        (
            "ws_futures_get_order_book",
            lambda: c.ws_futures_get_order_book(symbol=SYMBOL),
            lambda a: a["bids"],
        ),
        ("ws_futures_get_all_tickers", c.ws_futures_get_all_tickers, lambda a: a),
        (
            "ws_futures_v2_account_position",
            c.ws_futures_v2_account_position,
            lambda a: isinstance(a, list),
        ),
        (
            "ws_futures_account_status",
            c.ws_futures_account_status,
            lambda a: Decimal(a["totalWalletBalance"]) > 0,
        ),
        (
            "ws_futures_v2_account_status",
            c.ws_futures_v2_account_status,
            lambda a: Decimal(a["totalWalletBalance"]) > 0,
        ),
        ("ws_futures_create_algo_order", lambda: socket_algo(c), lambda a: str(a["code"]) == "200"),
    ]


async def socket_algo(c: AsyncClient) -> Any:
    """A stop placed and cancelled over the WebSocket API."""
    last = Decimal((await c.futures_symbol_ticker(symbol=SYMBOL))["price"])
    made = await c.ws_futures_create_algo_order(
        algoType="CONDITIONAL",
        symbol=SYMBOL,
        side="BUY",
        type="STOP_MARKET",
        quantity="0.01",
        triggerPrice=str((last * Decimal("1.05")).quantize(Decimal("0.1"))),
    )
    return await c.ws_futures_cancel_algo_order(algoId=made["algoId"])


async def all_calls(c: AsyncClient, manager: BinanceSocketManager) -> int:
    """Make every call; return the number of failures."""
    steps = Steps()
    for row in market_data(c) + account(c):
        await steps.call(*row)
    await shorthand_orders(c, steps)
    for row in sockets(c, manager):
        await steps.call(*row)
    return steps.failed
