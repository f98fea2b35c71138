"""Wire payloads to the words of the port: exact numbers, our enums, unified symbols. Pure."""

import logging
from decimal import Decimal, InvalidOperation

from pms.exchange.binance.symbols import SymbolDirectory
from pms.exchange.errors import UnreadablePayload
from pms.exchange.messages import (
    AccountConfigUpdate,
    AccountUpdate,
    AggTradeEvent,
    Bracket,
    MarkPriceEvent,
    OrderAnswer,
    OrderTradeUpdate,
    OrderUpdate,
    PositionRisk,
    UserTrade,
)
from pms.exchange.messages import BookTickerEvent as WireBook
from pms.exchange.port import (
    AccountConfigEvent,
    AccountEvent,
    ExchangePosition,
    OrderEvent,
    OrderReport,
)
from pms.model.bracket import LeverageBracket
from pms.model.fill import ExchangeFill, FillSource
from pms.model.ids import ClientOrderId, ExchangeOrderId, TradeId
from pms.model.money import ZERO, Money, Price, Quantity
from pms.model.order import ExchangeOrderStatus, OrderSide
from pms.model.price import BookTicker, MarkPrice, PublicTrade
from pms.model.symbol import Symbol

log = logging.getLogger("pms.exchange.binance")

ONE_WAY = "BOTH"

STATUSES = {
    "NEW": ExchangeOrderStatus.NEW,
    "PARTIALLY_FILLED": ExchangeOrderStatus.PARTIALLY_FILLED,
    "FILLED": ExchangeOrderStatus.FILLED,
    "CANCELED": ExchangeOrderStatus.CANCELLED,
    "EXPIRED": ExchangeOrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": ExchangeOrderStatus.SELF_MATCH,
    "REJECTED": ExchangeOrderStatus.REJECTED,
    # Liquidation and ADL orders of the exchange itself carry these while they work.
    "NEW_INSURANCE": ExchangeOrderStatus.NEW,
    "NEW_ADL": ExchangeOrderStatus.NEW,
}


def number(text: str | None, what: str) -> Decimal:
    """Return a finite decimal; missing or empty text is 0. Raises UnreadablePayload for anything else."""
    if not text:
        return ZERO
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise UnreadablePayload(f"the exchange sent {text!r} as {what}") from None
    if not value.is_finite():
        raise UnreadablePayload(f"the exchange sent {text!r} as {what}")
    return value


def status_of(text: str) -> ExchangeOrderStatus:
    """Return our status. One that this version does not know counts as working: that can never end an order
    that lives, and its executions are booked all the same. The census tells of it."""
    status = STATUSES.get(text)
    if status is None:
        log.error("the exchange reports an order status this version does not know: %r", text)
        return ExchangeOrderStatus.NEW
    return status


def side_of(text: str) -> OrderSide:
    """Return our side. Raises UnreadablePayload for anything but BUY and SELL."""
    try:
        return OrderSide(text)
    except ValueError:
        raise UnreadablePayload(f"the exchange reports an order side that does not exist: {text!r}") from None


def average_of(text: str | None) -> Price | None:
    """Return an average price; None when absent (since 2026-06-30) or 0 (nothing executed yet)."""
    value = number(text, "average price")
    return Price(value) if value else None


def report_of_answer(answer: OrderAnswer, symbols: SymbolDirectory) -> OrderReport:
    """Translate an answer to placing, cancelling or querying."""
    return OrderReport(
        symbol=symbols.unified(answer.symbol),
        order_id=ExchangeOrderId(str(answer.order_id)),
        client_order_id=ClientOrderId(answer.client_order_id),
        side=side_of(answer.side),
        status=status_of(answer.status),
        quantity=Quantity(number(answer.orig_qty, "quantity")),
        price=Price(number(answer.price, "price")),
        executed_quantity=Quantity(number(answer.executed_qty or answer.cum_qty, "executed quantity")),
        average_price=average_of(answer.avg_price),
        update_time_ms=answer.update_time or answer.time or 0,
    )


def order_event(event: OrderTradeUpdate, symbols: SymbolDirectory) -> OrderEvent:
    """Translate ORDER_TRADE_UPDATE (Binance spec 5.3)."""
    order = event.order
    report = OrderReport(
        symbol=symbols.unified(order.symbol),
        order_id=ExchangeOrderId(str(order.order_id)),
        client_order_id=ClientOrderId(order.client_order_id),
        side=side_of(order.side),
        status=status_of(order.status),
        quantity=Quantity(number(order.original_quantity, "quantity")),
        price=Price(number(order.price, "price")),
        executed_quantity=Quantity(number(order.cumulative_quantity, "executed quantity")),
        average_price=average_of(order.average_price),
        update_time_ms=event.transaction_time,
        expiry_reason=order.expiry_reason or "0",
    )
    return OrderEvent(report, _fill_of(order, report), event.event_time, event.transaction_time)


# Whatever the execution type says: TRADE, CALCULATED and kinds to come book by trade id (decision 3).
def _fill_of(order: OrderUpdate, report: OrderReport) -> ExchangeFill | None:
    quantity = number(order.last_quantity, "last quantity")
    if order.trade_id <= 0 or quantity <= 0:
        return None
    return ExchangeFill(
        native_symbol=order.symbol,
        symbol=report.symbol,
        trade_id=TradeId(order.trade_id),
        order_id=report.order_id,
        client_order_id=report.client_order_id,
        side=report.side,
        price=Price(number(order.last_price, "last price")),
        quantity=Quantity(quantity),
        fee=number(order.commission or None, "commission"),
        fee_asset=order.commission_asset or "",
        maker=order.is_maker,
        trade_time_ms=order.trade_time,
        source=FillSource.STREAM,
        forced=order.order_type == "LIQUIDATION",
    )


def fill_of_trade(trade: UserTrade, symbols: SymbolDirectory) -> ExchangeFill:
    """Translate a row of userTrades. It names no client order id: match the fill by its order id."""
    return ExchangeFill(
        native_symbol=trade.symbol,
        symbol=symbols.unified(trade.symbol),
        trade_id=TradeId(trade.id),
        order_id=ExchangeOrderId(str(trade.order_id)),
        client_order_id=ClientOrderId(""),
        side=side_of(trade.side),
        price=Price(number(trade.price, "price")),
        quantity=Quantity(number(trade.qty, "quantity")),
        fee=number(trade.commission, "commission"),
        fee_asset=trade.commission_asset,
        maker=trade.maker,
        trade_time_ms=trade.time,
        source=FillSource.QUERY,
    )


def account_event(event: AccountUpdate, symbols: SymbolDirectory, settle_asset: str) -> AccountEvent:
    """Translate ACCOUNT_UPDATE. Rows of hedge sides are left out: the account guard refuses that mode."""
    positions = tuple(
        ExchangePosition(
            symbol=symbols.unified(row.symbol),
            signed_quantity=number(row.amount, "position amount"),
            entry_price=Price(number(row.entry_price, "entry price")),
            update_time_ms=event.transaction_time,
        )
        for row in event.account.positions
        if row.position_side == ONE_WAY
    )
    wallet: Money | None = None
    change = Money(ZERO)
    for row in event.account.balances:
        if row.asset == settle_asset:
            wallet = Money(number(row.wallet_balance, "wallet balance"))
            change = Money(number(row.change, "balance change"))
    return AccountEvent(
        positions, wallet, change, event.account.reason, event.event_time, event.transaction_time
    )


def config_event(event: AccountConfigUpdate, symbols: SymbolDirectory) -> AccountConfigEvent:
    """Translate ACCOUNT_CONFIG_UPDATE; a symbol that is not listed is left out."""
    changed = event.leverage
    symbol = None if changed is None else symbols.map.unified.get(changed.symbol)
    leverage = changed.leverage if changed is not None and symbol is not None else None
    return AccountConfigEvent(symbol, leverage, event.event_time, event.transaction_time)


def positions_of(rows: list[PositionRisk], symbols: SymbolDirectory) -> list[ExchangePosition]:
    """Translate positionRisk rows to non-zero net positions, one for each symbol."""
    net: dict[str, ExchangePosition] = {}
    for row in rows:
        amount = number(row.position_amt, "position amount")
        if not amount:
            continue
        before = net.get(row.symbol)
        net[row.symbol] = ExchangePosition(
            symbol=symbols.unified(row.symbol),
            signed_quantity=amount + (before.signed_quantity if before else ZERO),
            entry_price=Price(number(row.entry_price, "entry price")),
            update_time_ms=row.update_time or 0,
        )
    return [position for position in net.values() if position.signed_quantity]


def bracket_of(row: Bracket) -> LeverageBracket:
    """Translate one leverage bracket; the numbers are exact already."""
    return LeverageBracket(
        leverage_max=row.initial_leverage,
        notional_floor=row.notional_floor,
        notional_cap=row.notional_cap,
        maintenance_rate=row.maint_margin_ratio,
        cumulative=row.cum,
    )


def mark_of(event: MarkPriceEvent, symbol: Symbol, received_ms: int) -> MarkPrice:
    """Translate a mark price; binary floats on purpose, this is the tick path (decision 5)."""
    return MarkPrice(
        symbol=symbol,
        price=float(event.mark_price),
        funding_rate=float(event.funding_rate or 0),
        next_funding_time_ms=event.next_funding_time,
        exchange_time_ms=event.event_time,
        received_ms=received_ms,
    )


def book_of(event: WireBook, symbol: Symbol, received_ms: int) -> BookTicker:
    """Translate a book ticker; binary floats on purpose, this is the tick path (decision 5)."""
    return BookTicker(
        symbol=symbol,
        bid=float(event.bid_price),
        bid_quantity=float(event.bid_quantity),
        ask=float(event.ask_price),
        ask_quantity=float(event.ask_quantity),
        update_id=event.update_id,
        exchange_time_ms=event.event_time or event.transaction_time,
        received_ms=received_ms,
    )


def trade_of(event: AggTradeEvent, symbol: Symbol, received_ms: int) -> PublicTrade:
    """Translate an aggregated trade; binary floats on purpose, this is the tick path (decision 5)."""
    return PublicTrade(
        symbol=symbol,
        number=event.aggregate_id,
        price=float(event.price),
        quantity=float(event.quantity),
        buyer_is_maker=event.buyer_is_maker,
        trade_time_ms=event.trade_time,
        received_ms=received_ms,
    )
