"""From the domain's exact values to the wire's JSON numbers and ISO dates (gateway spec 5)."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime

from pydantic.alias_generators import to_camel

from pms.execution.api import AccountState, AccountSummary, Exposure, LivePosition
from pms.gateway import wire
from pms.gateway.ports import BalanceLogRow, PositionRef, RulesRow, User
from pms.ledger.api import TradeRow
from pms.model.account import Position, RiskRules, SubAccount
from pms.model.event import JsonValue
from pms.model.order import JournalOrder, OrderCode, OrderState
from pms.model.restriction import RestrictionEntry
from pms.model.symbol import SymbolRules

_PENDING_STATUS = {
    OrderState.FILLED: "FILLED",
    OrderState.CANCELLED: "CANCELLED",
    OrderState.EXPIRED: "EXPIRED",
    OrderState.REJECTED: "CANCELLED",
    OrderState.NOT_EXECUTED: "CANCELLED",
}
_PENDING_TYPE = {OrderCode.CHASE: "CHASE_LIMIT", OrderCode.SCALPER: "SCALPER_LIMIT"}


def iso(epoch_ms: int) -> str:
    """Return ISO 8601 UTC with milliseconds and `Z`."""
    moment = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{epoch_ms % 1000:03d}Z"


def finite(value: float) -> float:
    """Return a number that JSON knows; "no such price" is 0: the browser formats without asking (H-31)."""
    return value if math.isfinite(value) else 0.0


def user(row: User) -> wire.UserBody:
    return wire.UserBody(id=row.id, username=row.username, role=row.role.value, status=row.status.value)


def me(row: User) -> wire.MeBody:
    return wire.MeBody(
        id=row.id,
        username=row.username,
        role=row.role.value,
        status=row.status.value,
        api_key=None,
        created_at=iso(row.created_at_ms),
    )


def restriction(entry: RestrictionEntry) -> wire.RestrictionBody:
    return wire.RestrictionBody(
        sub_account_id=entry.sub_account_id,
        source=entry.source,
        level=entry.level.name,
        reason=entry.reason,
        actor=entry.actor,
        since=iso(entry.since_ms),
    )


def sub_account(account: SubAccount) -> wire.SubAccountBody:
    return wire.SubAccountBody(
        id=account.id,
        user_id=account.user_id,
        name=account.name,
        type=account.type,
        initial_balance=float(account.initial_balance),
        current_balance=float(account.balance),
        owed=float(account.owed),
        status=account.status.value,
        liquidation_mode=account.liquidation_mode.value,
        maintenance_rate=float(account.maintenance_rate),
        created_at=iso(account.created_at_ms),
        updated_at=iso(account.updated_at_ms),
    )


def rules(values: RiskRules, row: RulesRow | None = None) -> wire.RulesBody:
    return wire.RulesBody(
        id=row.id if row else None,
        sub_account_id=row.sub_account_id if row else None,
        is_global=row is not None and row.sub_account_id is None,
        max_leverage=float(values.leverage_max),
        max_notional_per_trade=float(values.notional_per_trade_max),
        max_total_exposure=float(values.exposure_max),
        liquidation_threshold=float(values.liquidation_threshold),
    )


def live_position(live: LivePosition) -> wire.LivePositionBody:
    return position(
        live.position,
        mark_price=finite(live.mark_price),
        unrealized_pnl=finite(live.unrealized_pnl),
        pnl_percent=finite(live.pnl_percent),
        liquidation_price=finite(live.liquidation_price),
    )


def position(
    row: Position,
    *,
    mark_price: float | None = None,
    unrealized_pnl: float = 0.0,
    pnl_percent: float = 0.0,
    liquidation_price: float | None = None,
) -> wire.LivePositionBody:
    """Render a position; without a mark the entry price stands in, because the browser needs a number."""
    entry = float(row.entry_price)
    return wire.LivePositionBody(
        id=row.id,
        sub_account_id=row.sub_account_id,
        symbol=row.symbol,
        side=row.side.value,
        entry_price=entry,
        mark_price=entry if mark_price is None else mark_price,
        quantity=float(row.quantity),
        notional=float(row.notional),
        leverage=float(row.leverage),
        margin=float(row.margin),
        liquidation_price=float(row.liquidation_price) if liquidation_price is None else liquidation_price,
        unrealized_pnl=unrealized_pnl,
        pnl_percent=pnl_percent,
        status=row.status.value,
        babysitter_excluded=row.babysitter_excluded,
        opened_at=iso(row.opened_at_ms),
    )


def summary_fields(summary: AccountSummary) -> dict[str, float | int | None]:
    """Return the figures under their model names; equity is floored at 0 for display."""
    liquidation = summary.account_liquidation_price
    return {
        "equity": finite(max(0.0, summary.equity)),
        "balance": finite(summary.balance),
        "unrealized_pnl": finite(summary.unrealized_pnl),
        "margin_used": finite(summary.margin_used),
        "available_margin": finite(summary.available_margin),
        "total_exposure": finite(summary.total_exposure),
        "maintenance_margin": finite(summary.maintenance_margin),
        "margin_ratio": summary.margin_ratio if math.isfinite(summary.margin_ratio) else 999.0,
        "account_liq_price": liquidation if liquidation is not None and math.isfinite(liquidation) else None,
        "position_count": summary.position_count,
    }


def summary(state: AccountState) -> wire.SummaryBody:
    fields = summary_fields(state.summary)
    return wire.SummaryBody.model_validate(
        fields | {"liquidation_mode": state.account.liquidation_mode.value}
    )


def account_state(state: AccountState) -> wire.PositionsBody:
    return wire.PositionsBody(
        account=sub_account(state.account),
        positions=[live_position(live) for live in state.positions],
        summary=summary(state),
        rules=rules(state.rules),
    )


def margin(state: AccountState) -> wire.MarginBody:
    fields: dict[str, object] = dict(summary_fields(state.summary))
    fields |= {
        "liquidation_mode": state.account.liquidation_mode.value,
        "account": sub_account(state.account),
        "rules": rules(state.rules),
    }
    return wire.MarginBody.model_validate(fields)


def margin_event(state: AccountState) -> dict[str, JsonValue]:
    """Return the data of `margin_update`, flat, with the rules that the size slider needs (spec 7.4)."""
    named = summary_fields(state.summary)
    data: dict[str, JsonValue] = {to_camel(name): value for name, value in named.items()}
    data["subAccountId"] = state.account.id
    data["rules"] = {
        "maxNotionalPerTrade": float(state.rules.notional_per_trade_max),
        "maxLeverage": float(state.rules.leverage_max),
        "maxTotalExposure": float(state.rules.exposure_max),
        "liquidationThreshold": float(state.rules.liquidation_threshold),
    }
    return data


def position_event(live: LivePosition) -> dict[str, JsonValue]:
    """Return the data of `position_updated` (spec 7.4), with the marked figures added."""
    row = live.position
    return {
        "subAccountId": row.sub_account_id,
        "positionId": row.id,
        "symbol": row.symbol,
        "side": row.side.value,
        "entryPrice": float(row.entry_price),
        "markPrice": finite(live.mark_price),
        "quantity": float(row.quantity),
        "notional": float(row.notional),
        "leverage": float(row.leverage),
        "margin": float(row.margin),
        "liquidationPrice": finite(live.liquidation_price),
        "unrealizedPnl": finite(live.unrealized_pnl),
        "pnlPercent": finite(live.pnl_percent),
        "babysitterExcluded": row.babysitter_excluded,
        "openedAt": iso(row.opened_at_ms),
    }


def _trade_fields(row: TradeRow) -> dict[str, object]:
    return {
        "id": row.id,
        "sub_account_id": row.sub_account_id,
        "position_id": row.position_id,
        "exchange_order_id": row.exchange_order_id,
        "client_order_id": row.client_order_id,
        "symbol": row.symbol,
        "side": row.side.value,
        "type": row.type.value,
        "price": float(row.price),
        "quantity": float(row.quantity),
        "notional": float(row.notional),
        "fee": float(row.fee),
        "realized_pnl": None if row.realized_pnl is None else float(row.realized_pnl),
        "action": row.action,
        "origin_type": row.origin_type,
        "status": row.status,
        "signature": row.signature,
        "timestamp": iso(row.timestamp_ms),
    }


def trade(row: TradeRow) -> wire.TradeBody:
    return wire.TradeBody.model_validate(_trade_fields(row))


def history_trade(row: TradeRow, ref: PositionRef | None) -> wire.HistoryTradeBody:
    owner = None
    if ref is not None:
        owner = wire.TradePositionBody(
            id=ref.id,
            symbol=ref.symbol,
            side=ref.side.value,
            entry_price=float(ref.entry_price),
            status=ref.status.value,
        )
    return wire.HistoryTradeBody.model_validate(_trade_fields(row) | {"position": owner})


def pending_order(order: JournalOrder) -> wire.PendingOrderBody:
    """Render a resting order; `side` is the side that it opens, LONG or SHORT, also when it only reduces."""
    return wire.PendingOrderBody(
        id=order.pending_order_id or order.client_order_id,
        sub_account_id=order.sub_account_id or "",
        symbol=order.symbol,
        side=order.position_side.value,
        type=_PENDING_TYPE.get(order.code, "LIMIT"),
        price=float(order.price or 0),
        quantity=float(order.quantity),
        leverage=float(order.leverage),
        exchange_order_id=order.exchange_order_id,
        client_order_id=order.client_order_id,
        status=_PENDING_STATUS.get(order.state, "PENDING"),
        reduce_only=order.reduce_only,
        filled_quantity=float(order.booked_quantity),
        created_at=iso(order.created_at_ms),
    )


def native(symbol: str) -> str:
    """Return the exchange's form, `BTCUSDT`, which the incumbent shows as `id`."""
    return symbol.partition(":")[0].replace("/", "")


def symbol_item(row: SymbolRules) -> wire.SymbolBody:
    return wire.SymbolBody(symbol=row.symbol, base=row.base, id=native(row.symbol))


def symbol_info(row: SymbolRules) -> wire.SymbolInfoBody:
    return wire.SymbolInfoBody(
        symbol=row.symbol,
        min_notional=float(row.notional_min),
        min_qty=float(row.quantity_min),
        max_qty=float(row.quantity_max) or None,
        price_precision=_digits(str(row.price_tick), row.price_precision),
        qty_precision=_digits(str(row.quantity_step), row.quantity_precision),
        tick_size=float(row.price_tick),
        step_size=float(row.quantity_step),
        trading=row.trading,
    )


def _digits(step: str, fallback: int) -> int:
    """Return the decimals of a step (0.10 has one), or the fallback when the step is off."""
    whole, _, decimals = step.partition(".")
    decimals = decimals.rstrip("0")
    if not decimals and not whole.strip("0"):
        return fallback
    return len(decimals)


def balance_log(row: BalanceLogRow) -> wire.BalanceLogBody:
    return wire.BalanceLogBody(
        id=row.id,
        sub_account_id=row.sub_account_id,
        balance_before=float(row.balance_before),
        balance_after=float(row.balance_after),
        change_amount=float(row.change_amount),
        reason=row.reason,
        trade_id=row.trade_id,
        timestamp=iso(row.timestamp_ms),
    )


def exposure(row: Exposure) -> wire.ExposureBody:
    return wire.ExposureBody(
        symbol=row.symbol,
        virtual_net=float(row.virtual_net),
        house_net=float(row.house_net),
        exchange_net=None if row.exchange_net is None else float(row.exchange_net),
        difference=None if row.difference is None else float(row.difference),
        balanced=row.balanced,
        watermark_ms=row.watermark_ms,
        accounts=[
            wire.ExposureHolderBody(
                sub_account_id=holder, name=name, side=side.value, quantity=float(quantity)
            )
            for holder, name, side, quantity in row.holders
        ],
    )


def record(value: object) -> object:
    """Return statistics as JSON values: fields of records in camelCase, other keys as they are."""
    if is_dataclass(value) and not isinstance(value, type):
        return {to_camel(each.name): record(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): record(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [record(one) for one in value]
    if isinstance(value, float):
        return finite(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)
