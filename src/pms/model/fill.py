"""Executions as the exchange reports them, keyed so that each is booked exactly once (decision 3)."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pms.model.ids import ClientOrderId, ExchangeAccountId, ExchangeOrderId, TradeId
from pms.model.money import Price, Quantity
from pms.model.order import OrderSide
from pms.model.symbol import Symbol


class FillKind(StrEnum):
    """EXCHANGE changes the exchange net; TRANSFER and CROSS are internal and never do (decisions 9 and
    14)."""

    EXCHANGE = "EXCHANGE"
    TRANSFER = "TRANSFER"
    CROSS = "CROSS"


class FillSource(StrEnum):
    """Where we learned of a fill; recorded for audit, never part of the key."""

    STREAM = "STREAM"
    QUERY = "QUERY"
    RECOVERY = "RECOVERY"


@dataclass(frozen=True, slots=True)
class FillKey:
    """Identity of an execution: account with its epoch, native symbol, trade id, order id (decision 3)."""

    exchange_account_id: ExchangeAccountId
    epoch: str
    native_symbol: str
    trade_id: TradeId
    order_id: ExchangeOrderId


@dataclass(frozen=True, slots=True)
class ExchangeFill:
    """One execution of the real account. `fee` is positive when paid, negative for a rebate, in `fee_asset`.

    `forced`: the exchange's own liquidation order, told by its type.
    """

    native_symbol: str
    symbol: Symbol
    trade_id: TradeId
    order_id: ExchangeOrderId
    client_order_id: ClientOrderId
    side: OrderSide
    price: Price
    quantity: Quantity
    fee: Decimal
    fee_asset: str
    maker: bool
    trade_time_ms: int
    source: FillSource
    forced: bool = False
