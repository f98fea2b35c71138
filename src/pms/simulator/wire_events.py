"""Private events as the venue sends them, encoded once (Binance spec section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from pms.exchange import messages as wire
from pms.simulator.exposure import Exposure
from pms.simulator.scale import Scale
from pms.simulator.state import (
    CROSSED,
    ISOLATED,
    ZERO,
    Account,
    AlgoOrder,
    Order,
    Position,
    Trade,
    margin_text,
    money,
    text,
)

_encoder = msgspec.json.Encoder()
ENTRY_DECIMALS = Decimal("0.000000000001")


def entry_text(value: Decimal) -> str:
    """Return an average price with at most twelve decimals."""
    return text(value.quantize(ENTRY_DECIMALS)) if value else "0"


def isolated_text(wallet: Decimal) -> str:
    """Return an isolated wallet as the venue writes it: eight decimals, a bare zero without one."""
    return money(wallet) if wallet else "0"


def order_update(
    order: Order,
    execution: str,
    trade: Trade | None,
    now_ms: int,
    standing: Exposure,
    asset: str,
    modify_id: int | None = None,
) -> bytes:
    """Return ORDER_TRADE_UPDATE; `execution` is the `x` field, `trade` the fill of a TRADE.

    `standing` sums up the open orders of its account, symbol and side after the event, `asset` is the margin
    asset. `modify_id` is the client's number of an AMENDMENT.
    """
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
        commission_asset=trade.commission_asset if trade else asset,
        commission=money(trade.commission) if trade else "0",
        bid_notional=text(standing.bid_notional),
        ask_notional=text(standing.ask_notional),
        is_maker=trade.maker if trade else False,
        reduce_only=order.reduce_only,
        original_type=order.original_type or order.type,
        position_side=order.position_side,
        close_all=order.close_position,
        realized_profit=money(trade.realized) if trade else "0",
        self_trade_prevention_mode=order.stp_mode,
        price_match=order.price_match,
        good_till_date=order.good_till_ms,
        expiry_reason=order.expiry_reason,
        modify_id=modify_id,
    )
    return _encoder.encode(wire.OrderTradeUpdate(event_time=now_ms, transaction_time=now_ms, order=body))


def trade_lite(
    order: Order, price: Decimal, quantity: Decimal, trade_id: int, maker: bool, now_ms: int, scale: Scale
) -> bytes:
    """Return TRADE_LITE of a fill; unlike the other events it keeps the zeros of the symbol's scale."""
    return _encoder.encode(
        wire.TradeLite(
            event_time=now_ms,
            transaction_time=now_ms,
            symbol=order.symbol,
            original_quantity=scale.quantity(order.quantity),
            price=scale.price(order.price),
            is_maker=maker,
            client_order_id=order.client_order_id,
            side=order.side,
            last_price=scale.price(price),
            last_quantity=scale.quantity(quantity),
            trade_id=trade_id,
            order_id=order.order_id,
        )
    )


def account_update(
    account: Account,
    positions: list[tuple[Position, Decimal, str]],
    reason: str,
    moved: Mapping[str, tuple[Decimal, Decimal]],
    now_ms: int,
    symbol: str = "",
) -> bytes:
    """Return ACCOUNT_UPDATE: the assets of `moved`, each with its change other than profit and commission and
    its cross wallet, and the changed positions, each with its mark price and margin asset (spec 5.4)."""
    balances = [
        wire.BalanceChange(
            asset=asset,
            wallet_balance=money(account.wallets.get(asset, ZERO)),
            cross_wallet_balance=money(cross),
            change=money(change) if change else "0",
        )
        for asset, (change, cross) in moved.items()
    ]
    rows = [
        wire.PositionChange(
            symbol=position.symbol,
            amount=text(position.quantity),
            entry_price=entry_text(position.entry),
            accumulated_realized=money(position.realized),
            unrealized_profit=money(position.unrealized(mark) if position.quantity else ZERO),
            margin_type="isolated" if account.isolates(position.symbol) else "cross",
            isolated_wallet=isolated_text(position.isolated_wallet),
            position_side=position.side,
            margin_asset=asset,
            break_even_price=entry_text(position.break_even),
        )
        for position, mark, asset in positions
    ]
    body = wire.AccountChange(reason=reason, balances=balances, positions=rows, funding_symbol=symbol or None)
    return _encoder.encode(wire.AccountUpdate(event_time=now_ms, transaction_time=now_ms, account=body))


def margin_call(
    account: Account, cross: Decimal | None, rows: list[tuple[Position, Decimal, Decimal]], now_ms: int
) -> bytes:
    """Return MARGIN_CALL of positions, each with its mark price and maintenance margin.

    `cross` is the cross wallet; None for an isolated position.
    """
    positions = [
        wire.MarginCallPosition(
            symbol=position.symbol,
            position_side=position.side,
            amount=text(position.quantity),
            margin_type=ISOLATED if account.isolates(position.symbol) else CROSSED,
            isolated_wallet=isolated_text(position.isolated_wallet),
            mark_price=text(mark),
            unrealized_profit=margin_text(position.unrealized(mark)),
            maintenance_margin=margin_text(maintenance),
        )
        for position, mark, maintenance in rows
    ]
    wallet = None if cross is None else money(cross)
    return _encoder.encode(
        wire.MarginCall(event_time=now_ms, cross_wallet_balance=wallet, positions=positions)
    )


def leverage_update(symbol: str, leverage: int, now_ms: int) -> bytes:
    """Return ACCOUNT_CONFIG_UPDATE for a new leverage (without the absent `ai` part)."""
    body = {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ac": {"s": symbol, "l": leverage}}
    return _encoder.encode(body)


def listen_key_expired(listen_key: str, now_ms: int) -> bytes:
    """Return listenKeyExpired."""
    return _encoder.encode(wire.ListenKeyExpired(event_time=now_ms, listen_key=listen_key))


def algo_update(algo: AlgoOrder, now_ms: int, order: Order | None, as_new: bool = False) -> bytes:
    """Return ALGO_UPDATE; `order` is what it became, with `as_new` shown as it was before its fills."""
    executed = ZERO if order is None or as_new else order.executed
    body = wire.AlgoUpdate(
        client_algo_id=algo.client_algo_id,
        algo_id=algo.algo_id,
        algo_type="CONDITIONAL",
        order_type=algo.type,
        symbol=algo.symbol,
        side=algo.side,
        position_side=algo.position_side,
        time_in_force=algo.time_in_force,
        quantity=text(algo.quantity),
        status=algo.status,
        actual_order_id=str(order.order_id) if order else "",
        actual_price=entry_text(order.average_price if executed else ZERO) if order else None,
        actual_quantity=text(executed) if order else None,
        actual_type=order.type if order else None,
        trigger_price=text(algo.trigger_price),
        price=text(algo.price),
        self_trade_prevention_mode=algo.stp_mode,
        working_type=algo.working_type,
        price_match=algo.price_match,
        close_all=algo.close_position,
        price_protect=algo.price_protect,
        reduce_only=algo.reduce_only,
        trigger_time=algo.triggered_ms,
        good_till_date=algo.good_till_ms,
        reject_reason=algo.reject_reason or None,
        activated=bool(algo.extreme) if algo.callback_rate else None,
    )
    event = wire.AlgoOrderUpdate(event_time=now_ms, transaction_time=now_ms, order=body)
    return _encoder.encode(event)
