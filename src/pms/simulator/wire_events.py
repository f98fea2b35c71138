"""Private events as the venue sends them, encoded once (Binance spec section 5)."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from pms.exchange import messages as wire
from pms.simulator.state import ZERO, Account, Order, Position, Trade, money, text

_encoder = msgspec.json.Encoder()
ENTRY_DECIMALS = Decimal("0.000000000001")


def entry_text(value: Decimal) -> str:
    """Return an average price with at most twelve decimals."""
    return text(value.quantize(ENTRY_DECIMALS)) if value else "0"


def order_update(order: Order, execution: str, trade: Trade | None, now_ms: int) -> bytes:
    """Return ORDER_TRADE_UPDATE; `execution` is the `x` field, `trade` the fill of a TRADE."""
    body = wire.OrderUpdate(
        symbol=order.symbol,
        client_order_id=order.client_order_id,
        side=order.side,
        order_type=order.type,
        time_in_force=order.time_in_force,
        original_quantity=text(order.quantity),
        price=text(order.price),
        average_price=entry_text(order.average_price),
        execution_type=execution,
        status=order.status,
        order_id=order.order_id,
        last_quantity=text(trade.quantity) if trade else "0",
        cumulative_quantity=text(order.executed),
        last_price=text(trade.price) if trade else "0",
        trade_time=now_ms,
        trade_id=trade.trade_id if trade else 0,
        commission_asset="USDT",
        commission=money(trade.commission) if trade else "0",
        is_maker=trade.maker if trade else False,
        reduce_only=order.reduce_only,
        original_type=order.type,
        realized_profit=money(trade.realized) if trade else "0",
        self_trade_prevention_mode=order.stp_mode,
        price_match=order.price_match,
        good_till_date=order.good_till_ms,
        expiry_reason=order.expiry_reason,
    )
    return _encoder.encode(wire.OrderTradeUpdate(event_time=now_ms, transaction_time=now_ms, order=body))


def trade_lite(
    order: Order, price: Decimal, quantity: Decimal, trade_id: int, maker: bool, now_ms: int
) -> bytes:
    """Return TRADE_LITE of a fill."""
    return _encoder.encode(
        wire.TradeLite(
            event_time=now_ms,
            transaction_time=now_ms,
            symbol=order.symbol,
            original_quantity=text(order.quantity),
            price=text(order.price),
            is_maker=maker,
            client_order_id=order.client_order_id,
            side=order.side,
            last_price=text(price),
            last_quantity=text(quantity),
            trade_id=trade_id,
            order_id=order.order_id,
        )
    )


def account_update(
    account: Account, position: Position | None, mark: Decimal, reason: str, change: Decimal, now_ms: int
) -> bytes:
    """Return ACCOUNT_UPDATE with the wallet and, when one changed, the position."""
    balance = wire.BalanceChange(
        asset="USDT",
        wallet_balance=money(account.wallet),
        cross_wallet_balance=money(account.wallet),
        change=money(change) if change else "0",
    )
    positions = []
    if position is not None:
        positions.append(
            wire.PositionChange(
                symbol=position.symbol,
                amount=text(position.quantity),
                entry_price=entry_text(position.entry),
                accumulated_realized=money(position.realized),
                unrealized_profit=money(position.unrealized(mark) if position.quantity else ZERO),
                margin_asset="USDT",
                break_even_price=entry_text(position.entry),
            )
        )
    body = wire.AccountChange(reason=reason, balances=[balance], positions=positions)
    return _encoder.encode(wire.AccountUpdate(event_time=now_ms, transaction_time=now_ms, account=body))


def leverage_update(symbol: str, leverage: int, now_ms: int) -> bytes:
    """Return ACCOUNT_CONFIG_UPDATE for a new leverage (without the absent `ai` part)."""
    body = {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ac": {"s": symbol, "l": leverage}}
    return _encoder.encode(body)


def listen_key_expired(listen_key: str, now_ms: int) -> bytes:
    """Return listenKeyExpired."""
    return _encoder.encode(wire.ListenKeyExpired(event_time=now_ms, listen_key=listen_key))
