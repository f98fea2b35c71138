"""Single methods of Binance's SDK, each called and its answer checked, in one-way mode."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from binance_common.errors import BadRequestError
from steps import Steps

SYMBOL, OTHER = "BTCUSDT", "ETHUSDT"
Row = tuple[str, Callable[[], Awaitable[Any]], Callable[[Any], object]]


class Calls:
    """The REST methods as rows of (name, call, check)."""

    def __init__(self, rest: Any) -> None:
        self.rest = rest

    def row(self, name: str, check: Callable[[Any], object], **arguments: Any) -> Row:
        """Return a row that calls a method of the same name."""

        def call() -> Any:
            return getattr(self.rest, name)(**arguments).data()

        return name, lambda: asyncio.to_thread(call), check

    async def modifications(self) -> Any:
        """The amendments of an order that is placed, amended and cancelled for it."""

        def call() -> Any:
            last = float(self.rest.symbol_price_ticker_v2(symbol=SYMBOL).data().actual_instance.price)
            order = {"symbol": SYMBOL, "side": "BUY", "quantity": 0.01, "price": round(last * 0.9, 1)}
            made = self.rest.new_order(**order, type="LIMIT", time_in_force="GTC").data()
            which = {"symbol": SYMBOL, "order_id": made.order_id}
            self.rest.modify_order(**{**order, "price": round(last * 0.89, 1)}, order_id=made.order_id)
            found = self.rest.get_order_modify_history(**which).data()
            self.rest.cancel_order(**which)
            return found

        return await asyncio.to_thread(call)

    async def margin_types(self) -> list[int]:
        """The code that refuses going to isolated and back to crossed, which it is then already."""
        codes = []
        for kind in ("ISOLATED", "CROSSED", "CROSSED"):
            try:
                await asyncio.to_thread(self.rest.change_margin_type, symbol=OTHER, margin_type=kind)
            except BadRequestError as error:
                codes.append(error.status_code)
        return codes

    def market_data(self) -> list[Row]:
        """Market data."""
        one, few = {"symbol": SYMBOL}, {"symbol": SYMBOL, "limit": 5}
        minute = {"interval": "1m", "limit": 5}
        row = self.row
        return [
            row("test_connectivity", lambda a: True),
            row("check_server_time", lambda a: a.server_time > 0),
            row("order_book", lambda a: a.bids, **few),
            row("rpi_order_book", lambda a: a.bids, symbol=SYMBOL, limit=1000),
            row("recent_trades_list", lambda a: a[0].id > 0, **few),
            row("old_trades_lookup", lambda a: a[0].id > 0, **few),
            row("compressed_aggregate_trades_list", lambda a: a[0].a is not None, **few),
            row("kline_candlestick_data", lambda a: len(a[0]) == 12, symbol=SYMBOL, **minute),
            row("mark_price_kline_candlestick_data", lambda a: len(a[0]) == 12, symbol=SYMBOL, **minute),
            row("premium_index_kline_data", lambda a: len(a[0]) == 12, symbol=SYMBOL, **minute),
            row("index_price_kline_candlestick_data", lambda a: len(a[0]) == 12, pair=SYMBOL, **minute),
            row(
                "continuous_contract_kline_candlestick_data",
                lambda a: len(a[0]) == 12,
                pair=SYMBOL,
                contract_type="PERPETUAL",
                **minute,
            ),
            row("mark_price", lambda a: Decimal(a.actual_instance.mark_price) > 0, **one),
            row("get_funding_rate_history", lambda a: isinstance(a, list), **few),
            row("get_funding_rate_info", lambda a: isinstance(a, list)),
            row("ticker24hr_price_change_statistics", lambda a: a.actual_instance.last_price, **one),
            row("symbol_price_ticker", lambda a: Decimal(a.actual_instance.price) > 0, **one),
            row("symbol_order_book_ticker", lambda a: a.actual_instance.bid_price, **one),
            row("open_interest", lambda a: a.symbol == SYMBOL, **one),
            row("query_index_price_constituents", lambda a: a.symbol == SYMBOL, **one),
            row("query_insurance_fund_balance_snapshot", lambda a: a.actual_instance, **one),
            row("adl_risk", lambda a: a.actual_instance, **one),
            row("asset_index", lambda a: a.actual_instance is not None),
            row("composite_index_symbol_information", lambda a: isinstance(a, list)),
            row("trading_schedule", lambda a: a.update_time > 0),
        ]

    def account(self) -> list[Row]:
        """Account data and settings."""
        one = {"symbol": SYMBOL}
        row = self.row

        def rows(answer: Any) -> bool:
            return isinstance(answer, list)

        return [
            row("account_information_v2", lambda a: Decimal(a.total_wallet_balance) > 0),
            row("account_information_v3", lambda a: Decimal(a.total_wallet_balance) > 0),
            row("futures_account_balance_v2", lambda a: any(b.asset == "USDT" for b in a)),
            row("futures_account_configuration", lambda a: a.dual_side_position is False),
            row("futures_trading_quantitative_rules_indicators", lambda a: a.update_time is not None),
            row("get_bnb_burn_status", lambda a: a.fee_burn in (True, False)),
            row("get_current_multi_assets_mode", lambda a: a.multi_assets_margin is False),
            row("get_income_history", lambda a: len(a) > 0, income_type="COMMISSION"),
            row("notional_and_leverage_brackets", lambda a: a, **one),
            row("query_user_rate_limit", lambda a: {r.limit for r in a} == {300, 1200}),
            row("symbol_configuration", lambda a: a[0].leverage > 0, **one),
            row("user_commission_rate", lambda a: Decimal(a.taker_commission_rate) > 0, **one),
            row("all_orders", lambda a: len(a) > 5, **one),
            row("account_trade_list", lambda a: a[0].commission_asset == "USDT", **one),
            ("get_order_modify_history", self.modifications, lambda a: a[0].amendment.price.after),
            row("get_position_margin_change_history", rows, **one),
            row("position_adl_quantile_estimation", rows),
            row("position_information_v2", lambda a: a[0].leverage, **one),
            row("query_all_algo_orders", lambda a: len(a) > 0, **one),
            row("users_force_orders", lambda a: a == []),
            row("change_initial_leverage", lambda a: a.leverage == 9, **one, leverage=9),
            ("change_margin_type", self.margin_types, lambda codes: codes == [-4046]),
            row("toggle_bnb_burn_on_futures_trade", lambda a: a.code == 200, fee_burn="true"),
            row("toggle_bnb_burn_on_futures_trade", lambda a: a.code == 200, fee_burn="false"),
            row("test_order", lambda a: True, **one, side="BUY", type="MARKET", quantity=0.01),
            row("start_user_data_stream", lambda a: len(a.listen_key) >= 60),
            row("keepalive_user_data_stream", lambda a: a.listen_key),
        ]


def socket_queries(socket: Any) -> list[Row]:
    """The WebSocket API's queries."""

    def asked(method: Any, **arguments: Any) -> Callable[[], Awaitable[Any]]:
        async def call() -> Any:
            answer = (await method(**arguments)).data()
            return getattr(answer, "actual_instance", None) or answer

        return call

    def result(answer: Any) -> object:
        return answer.status == 200 and answer.result is not None

    return [
        ("ws order_book", asked(socket.order_book, symbol=SYMBOL), lambda a: a.result.last_update_id),
        ("ws symbol_price_ticker", asked(socket.symbol_price_ticker, symbol=SYMBOL), result),
        ("ws symbol_order_book_ticker", asked(socket.symbol_order_book_ticker, symbol=SYMBOL), result),
        ("ws account_information", asked(socket.account_information), result),
        ("ws account_information_v2", asked(socket.account_information_v2), result),
        ("ws futures_account_balance", asked(socket.futures_account_balance), result),
        ("ws position_information", asked(socket.position_information), result),
        ("ws position_information_v2", asked(socket.position_information_v2), result),
        ("ws start_user_data_stream", asked(socket.start_user_data_stream), result),
        ("ws keepalive_user_data_stream", asked(socket.keepalive_user_data_stream), result),
    ]


def streams(connection: Any) -> list[Row]:
    """Market streams beside those of the flow; each must bring a message."""

    def first(subscribe: Any, **arguments: Any) -> Callable[[], Awaitable[Any]]:
        async def call() -> Any:
            got: asyncio.Queue[Any] = asyncio.Queue()
            stream = await subscribe(**arguments)
            stream.on("message", got.put_nowait)
            try:
                return await got.get()
            finally:
                await stream.unsubscribe()

        return call

    one = {"symbol": SYMBOL.lower()}
    candles = {"pair": SYMBOL.lower(), "contract_type": "perpetual", "interval": "1m"}
    subscriptions = [
        (connection.all_book_tickers_stream, {}),
        (connection.all_market_mini_tickers_stream, {}),
        (connection.all_market_tickers_streams, {}),
        (connection.individual_symbol_mini_ticker_stream, one),
        (connection.individual_symbol_ticker_streams, one),
        (connection.mark_price_stream_for_all_market, {}),
        (connection.continuous_contract_kline_candlestick_streams, candles),
        (connection.diff_book_depth_streams, one),
        (connection.rpi_diff_book_depth_streams, one),
    ]
    return [(s.__name__, first(s, **arguments), lambda a: a is not None) for s, arguments in subscriptions]


async def all_calls(client: Any, connection: Any, socket: Any) -> int:
    """Make every call; return the number of failures."""
    steps, calls = Steps(), Calls(client.rest_api)
    for row in calls.market_data() + calls.account() + socket_queries(socket) + streams(connection):
        await steps.call(*row)
    return steps.failed
