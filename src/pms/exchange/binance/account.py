"""The real account by request: mode, positions, purse, leverage, open orders and executions."""

from collections.abc import Mapping, Sequence

import msgspec

from pms.exchange.binance.convert import fill_of_trade, number, positions_of, report_of_answer
from pms.exchange.binance.rest import RestClient
from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.binance.trade_windows import REACH_MS, WINDOW_MS, windows, within_reach
from pms.exchange.binance.trading import NO_SUCH_ORDER, ORDER_PATH
from pms.exchange.errors import AccountGuardError, ExchangeRefusal, ExchangeUnavailable, UnreadablePayload
from pms.exchange.messages import (
    AccountConfig,
    AccountInfo,
    OrderAnswer,
    PositionRisk,
    SymbolConfig,
    UserTrade,
)
from pms.exchange.messages import Income as WireIncome
from pms.exchange.messages_values import INCOME_TYPES
from pms.exchange.port import (
    AccountMode,
    ExchangePosition,
    IncomePart,
    OrderReport,
    SymbolSettings,
    WalletState,
)
from pms.model.fill import ExchangeFill
from pms.model.ids import ClientOrderId, ExchangeOrderId, TradeId
from pms.model.income import TRADE_INCOME, Income
from pms.model.money import Money
from pms.model.symbol import Symbol

REAL_EPOCH = "binance"
"""The epoch of a venue that is never reset."""

TRADES_PER_PAGE = 1000
PAGES_MAX = 200
"""Bound of the reading of one order (200,000 executions). Beyond it the reading fails; it is never cut
silently."""

INCOME_PER_PAGE = 1000

CLOCKS_MS = 10_000

PAGES_PER_PART = 10
"""Pages of one part of a symbol's executions; the reader books a part before it asks for the next."""

_config_decoder = msgspec.json.Decoder(AccountConfig)
_account_decoder = msgspec.json.Decoder(AccountInfo)
_positions_decoder = msgspec.json.Decoder(list[PositionRisk])
_symbol_decoder = msgspec.json.Decoder(list[SymbolConfig] | SymbolConfig)
_order_decoder = msgspec.json.Decoder(OrderAnswer)
_orders_decoder = msgspec.json.Decoder(list[OrderAnswer])
_income_decoder = msgspec.json.Decoder(list[WireIncome])
_trades_decoder = msgspec.json.Decoder(list[UserTrade])


def is_cross(margin_type: str) -> bool:
    """Tell cross margin from isolated, in either spelling of the venue."""
    return margin_type.upper() in ("CROSSED", "CROSS")


class BinanceAccount:
    """Implements `AccountView`. Every method raises ExchangeError when the venue cannot be asked."""

    def __init__(self, rest: RestClient, symbols: SymbolDirectory, settle_asset: str) -> None:
        self._rest = rest
        self._symbols = symbols
        self._settle_asset = settle_asset

    async def server_time_ms(self) -> int:
        return await self._rest.server_time_ms()

    async def epoch(self) -> str:
        """Return what a simulator writes into every answer, else the constant of the real exchange."""
        if self._rest.epoch is None:
            await self._rest.server_time_ms()
        return self._rest.epoch or REAL_EPOCH

    async def mode(self) -> AccountMode:
        config = await self._rest.read("/fapi/v1/accountConfig", (), _config_decoder)
        return AccountMode(
            one_way=not config.dual_side_position,
            single_asset=not config.multi_assets_margin,
            can_trade=config.can_trade,
        )

    async def positions(self) -> Sequence[ExchangePosition]:
        rows = await self._rest.read("/fapi/v3/positionRisk", (), _positions_decoder)
        held = [row for row in rows if number(row.position_amt, "position amount")]
        await self._symbols.know({row.symbol for row in held})
        return positions_of(held, self._symbols)

    async def wallet(self) -> WalletState:
        account = await self._rest.read("/fapi/v3/account", (), _account_decoder)
        for asset in account.assets:
            if asset.asset == self._settle_asset:
                return WalletState(
                    asset=asset.asset,
                    wallet_balance=Money(number(asset.wallet_balance, "wallet balance")),
                    available_balance=Money(number(asset.available_balance, "available balance")),
                    margin_balance=Money(number(asset.margin_balance, "margin balance")),
                    initial_margin=Money(number(asset.initial_margin, "initial margin")),
                    maintenance_margin=Money(number(asset.maint_margin, "maintenance margin")),
                )
        raise UnreadablePayload(f"the account lists no {self._settle_asset}; is it a futures account?")

    async def leverage(self, symbol: Symbol) -> int:
        """Return the real leverage. Raises AccountGuardError when it is not on cross margin (decision 15)."""
        native = self._symbols.native(symbol)
        rows = await self._rest.read("/fapi/v1/symbolConfig", (("symbol", native),), _symbol_decoder)
        for row in rows if isinstance(rows, list) else [rows]:
            if row.symbol == native:
                if not is_cross(row.margin_type):
                    raise AccountGuardError(
                        f"{symbol} is on {row.margin_type} margin; set it to CROSSED on the exchange"
                    )
                return int(row.leverage)
        raise UnreadablePayload(f"the exchange tells no configuration of {symbol}")

    async def symbol_settings(self) -> Mapping[Symbol, SymbolSettings]:
        """Return margin mode and leverage of every listed symbol."""
        rows = await self._rest.read("/fapi/v1/symbolConfig", (), _symbol_decoder)
        unified = self._symbols.map.unified
        return {
            unified[row.symbol]: SymbolSettings(is_cross(row.margin_type), int(row.leverage))
            for row in (rows if isinstance(rows, list) else [rows])
            if row.symbol in unified
        }

    async def open_orders(self) -> Sequence[OrderReport]:
        rows = await self._rest.read("/fapi/v1/openOrders", (), _orders_decoder)
        await self._symbols.know({row.symbol for row in rows})
        return [report_of_answer(row, self._symbols) for row in rows]

    async def client_order_id(self, symbol: Symbol, order_id: ExchangeOrderId) -> ClientOrderId | None:
        """Return the client order id of an order of any state; None when the exchange does not know it
        (-2013)."""
        parameters = (("symbol", self._symbols.native(symbol)), ("orderId", order_id))
        try:
            answer = await self._rest.read(ORDER_PATH, parameters, _order_decoder)
        except ExchangeRefusal as refusal:
            if refusal.code == NO_SUCH_ORDER:
                return None
            raise
        return ClientOrderId(answer.client_order_id)

    async def order_fills(self, symbol: Symbol, order_id: ExchangeOrderId) -> Sequence[ExchangeFill]:
        """Return all executions of one order, oldest first. Their client order id is empty."""
        first = await self._page(symbol, (("orderId", order_id),))
        fills = await self._following(symbol, first, (("orderId", order_id),))
        return [fill for fill in fills if fill.order_id == order_id]

    async def fills_since(self, symbol: Symbol, trade_id: TradeId, since_ms: int) -> Sequence[ExchangeFill]:
        """Return the next executions with a larger trade id, oldest first; at most `PAGES_PER_PART` pages.

        Their client order id is empty. An id leads on as long as the venue tells of its time; else windows
        of seven days are walked until one holds an execution.
        """
        now_ms = self._rest.time.exchange_now_ms()
        if trade_id > 0 and within_reach(since_ms, now_ms):
            return await self._part(symbol, trade_id + 1)
        # Our estimate of the venue's time must not cut off an execution of this moment.
        for start_ms, end_ms in windows(since_ms, now_ms + CLOCKS_MS):
            times = (("startTime", str(start_ms)), ("endTime", str(end_ms)))
            ids = [row.id for row in await self._page(symbol, times) if row.id > trade_id]
            if ids:
                return await self._part(symbol, min(ids))
        return []

    def fills_reach_ms(self) -> int:
        """Return the three months of the venue."""
        return REACH_MS

    async def income(self, since_ms: int, until_ms: int) -> IncomePart:
        """Return a page of the income of at most seven days, oldest first.

        A full page may cut its last millisecond; that one is asked for again. More lines in one millisecond
        than a page holds are read type by type, without those that executions explain.
        """
        end_ms = min(since_ms + WINDOW_MS - 1, until_ms)
        page = await self._income_page(since_ms, end_ms)
        if len(page) < INCOME_PER_PAGE:
            return IncomePart(tuple(page), end_ms)
        last_ms = page[-1].time_ms
        if last_ms > since_ms:
            return IncomePart(tuple(page), last_ms - 1)
        rows = [
            row
            for type_ in sorted(INCOME_TYPES - TRADE_INCOME)
            for row in await self._income_page(since_ms, since_ms, ("incomeType", type_))
        ]
        return IncomePart(tuple(rows), since_ms)

    async def _income_page(self, since_ms: int, end_ms: int, *more: tuple[str, str]) -> list[Income]:
        times = (("startTime", str(since_ms)), ("endTime", str(end_ms)))
        parameters = (*times, ("limit", str(INCOME_PER_PAGE)), *more)
        rows = await self._rest.read("/fapi/v1/income", parameters, _income_decoder)
        unified = self._symbols.map.unified
        lines = [
            Income(
                row.income_type,
                str(row.tran_id),
                row.symbol,
                unified.get(row.symbol),
                row.asset,
                number(row.income, "income"),
                row.time,
            )
            for row in rows
        ]
        return sorted(lines, key=lambda line: line.time_ms)

    async def _part(self, symbol: Symbol, first_id: int) -> list[ExchangeFill]:
        rows: dict[int, UserTrade] = {}
        for _ in range(PAGES_PER_PART):
            page = await self._page(symbol, (("fromId", str(first_id)),))
            rows.update((row.id, row) for row in page)
            if len(page) < TRADES_PER_PAGE:
                break
            first_id = max(rows) + 1
        return [fill_of_trade(rows[trade_id], self._symbols) for trade_id in sorted(rows)]

    async def _following(
        self, symbol: Symbol, page: list[UserTrade], only: tuple[tuple[str, str], ...]
    ) -> list[ExchangeFill]:
        rows = {row.id: row for row in page}
        pages = 1
        while len(page) == TRADES_PER_PAGE:
            if pages == PAGES_MAX:
                raise ExchangeUnavailable(f"{symbol} has more executions than one reading may take")
            page = await self._page(symbol, (*only, ("fromId", str(max(rows) + 1))))
            rows.update((row.id, row) for row in page)
            pages += 1
        return [fill_of_trade(rows[trade_id], self._symbols) for trade_id in sorted(rows)]

    async def _page(self, symbol: Symbol, parameters: tuple[tuple[str, str], ...]) -> list[UserTrade]:
        native = self._symbols.native(symbol)
        fixed = (("symbol", native), ("limit", str(TRADES_PER_PAGE)))
        return await self._rest.read("/fapi/v1/userTrades", (*fixed, *parameters), _trades_decoder)
