"""Small values for the risk tests, with everything that a test does not care about filled in."""

from decimal import Decimal
from typing import Any

from pms.model.account import (
    AccountStatus,
    LiquidationMode,
    Position,
    PositionSide,
    PositionStatus,
    RiskRules,
    SubAccount,
)
from pms.model.ids import PositionId, SubAccountId
from pms.model.money import Money, Price, Quantity
from pms.model.order import OrderCode, OrderSide, OrderType
from pms.model.symbol import Symbol, SymbolRules
from pms.risk.gate import GateInput, MarkedPosition, OrderRequest
from pms.risk.reservations import OpenOrder

BTC = Symbol("BTC/USDT:USDT")
ETH = Symbol("ETH/USDT:USDT")
WIDE_RULES = RiskRules(Decimal(100), Decimal(100_000), Decimal(1_000_000), Decimal("0.9"))


def decimal(value: str | int | Decimal) -> Decimal:
    return Decimal(value)


def account(
    key: str = "acct-1",
    balance: str | int | Decimal = 1000,
    *,
    owed: str | int = 0,
    status: AccountStatus = AccountStatus.ACTIVE,
    mode: LiquidationMode = LiquidationMode.ADL_30,
    rate: str | Decimal = "0.005",
) -> SubAccount:
    cash = Money(Decimal(balance))
    owed_money = Money(Decimal(owed))
    return SubAccount(
        SubAccountId(key), None, key, "USER", cash, cash, owed_money, status, mode, Decimal(rate), 0, 0
    )


def position(
    symbol: Symbol = BTC,
    side: PositionSide = PositionSide.LONG,
    quantity: str | int | Decimal = 1,
    entry: str | int | Decimal = 100,
    *,
    leverage: str | int | Decimal = 10,
    key: str | None = None,
    owner: str = "acct-1",
    status: PositionStatus = PositionStatus.OPEN,
) -> Position:
    amount = Decimal(quantity)
    return Position(
        PositionId(key or f"{owner}-{symbol}"),
        SubAccountId(owner),
        symbol,
        side,
        Quantity(amount),
        Money(amount * Decimal(entry)),
        Decimal(leverage),
        Price(Decimal(0)),
        status,
        True,
        0,
        1,
    )


def symbol_rules(symbol: Symbol = BTC, **changes: Any) -> SymbolRules:
    values: dict[str, Any] = {
        "symbol": symbol,
        "base": symbol.partition("/")[0],
        "quote": "USDT",
        "settle": "USDT",
        "price_tick": Decimal("0.1"),
        "price_min": Decimal("0.1"),
        "price_max": Decimal(1_000_000),
        "quantity_step": Decimal("0.001"),
        "quantity_min": Decimal("0.001"),
        "quantity_max": Decimal(1000),
        "market_quantity_step": Decimal("0.001"),
        "market_quantity_min": Decimal("0.001"),
        "market_quantity_max": Decimal(120),
        "notional_min": Decimal(5),
        "price_precision": 1,
        "quantity_precision": 3,
    }
    return SymbolRules(**{**values, **changes})


def market(
    quantity: str | int | Decimal = 1,
    side: PositionSide = PositionSide.LONG,
    *,
    leverage: str | int | Decimal = 10,
    reduce_only: bool = False,
    symbol: Symbol = BTC,
) -> OrderRequest:
    return OrderRequest(
        symbol,
        side,
        OrderType.MARKET,
        Decimal(quantity),
        Decimal(leverage),
        OrderCode.MARKET,
        None,
        reduce_only,
    )


def limit(
    quantity: str | int | Decimal = 1,
    price: str | int | Decimal | None = 100,
    side: PositionSide = PositionSide.LONG,
    *,
    leverage: str | int | Decimal = 10,
    reduce_only: bool = False,
) -> OrderRequest:
    return OrderRequest(
        BTC,
        side,
        OrderType.LIMIT,
        Decimal(quantity),
        Decimal(leverage),
        OrderCode.LIMIT,
        None if price is None else Decimal(price),
        reduce_only,
    )


def gate_input(request: OrderRequest, *held: Position, **changes: Any) -> GateInput:
    mark = changes.pop("mark", Decimal(100))
    positions = tuple(MarkedPosition(item, mark, 0) for item in held)
    values: dict[str, Any] = {
        "account": account(),
        "rules": WIDE_RULES,
        "symbol_rules": symbol_rules(),
        "request": request,
        "mark": mark,
        "mark_age_ms": 0,
        "positions": positions,
    }
    return GateInput(**{**values, **changes})


def resting(
    side: OrderSide,
    remaining: str | int,
    price: str | int = 100,
    *,
    leverage: str | int = 10,
    reduce_only: bool = False,
    symbol: Symbol = BTC,
) -> OpenOrder:
    return OpenOrder(symbol, side, Decimal(remaining), Decimal(price), Decimal(leverage), reduce_only)
