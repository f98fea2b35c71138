"""What the outside sees of an account's risk: live positions, summary, and the data of the risk events.

Display only: floats, computed by the same formulas as the decisions (ledger spec 2.1, 3.2, 5.11; gateway
spec 7.4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pms.model.account import AccountStatus, Position, RiskRules, SubAccount
from pms.model.event import JsonValue
from pms.model.signature import fixed_text
from pms.risk.formulas import (
    Figures,
    Leg,
    account_figures,
    dynamic_liquidation_prices,
    float_leg,
    largest_leg,
    maintenance_rate_or_default,
    pnl,
    safe_threshold,
)
from pms.risk.maintenance import Brackets


@dataclass(frozen=True, slots=True)
class LivePosition:
    """A position with its marked figures; floats, for display only."""

    position: Position
    mark_price: float
    unrealized_pnl: float
    pnl_percent: float
    liquidation_price: float


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """Display view of ledger spec 3.2. `margin_ratio` is 999 when equity is not positive."""

    equity: float
    equity_raw: float
    balance: float
    unrealized_pnl: float
    margin_used: float
    available_margin: float
    total_exposure: float
    maintenance_margin: float
    margin_ratio: float
    account_liquidation_price: float | None
    position_count: int


@dataclass(frozen=True, slots=True)
class AccountState:
    """One consistent view of an account: rows, live positions, summary, rules."""

    account: SubAccount
    positions: tuple[LivePosition, ...]
    summary: AccountSummary
    rules: RiskRules
    sequence: int


@dataclass(frozen=True, slots=True)
class MarkedLeg:
    """One position at its mark; `babysitter_excluded` and `opened_at_ms` are passed through."""

    leg: Leg[float]
    mark_price: float
    unrealized_pnl: float
    pnl_percent: float
    liquidation_price: float
    leverage: float
    babysitter_excluded: bool
    opened_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Holding:
    """One position as the view needs it: its figures and what is only passed through."""

    leg: Leg[float]
    leverage: float
    babysitter_excluded: bool
    opened_at_ms: int | None


def holding(position: Position) -> Holding:
    """Return the view's form of a position."""
    return Holding(
        float_leg(position), float(position.leverage), position.babysitter_excluded, position.opened_at_ms
    )


def mark_account(
    cash: float,
    rate: float,
    holdings: Sequence[Holding],
    marks: Mapping[str, float],
    threshold: float,
    brackets: Brackets[float] | None = None,
) -> tuple[AccountSummary, tuple[MarkedLeg, ...]]:
    """Evaluate an account at the given marks: spec 3.7 steps 2 and 3.

    A missing or zero mark counts at the entry. `rate` 0 means 0.005; `threshold` is sanitised here.
    """
    rate = maintenance_rate_or_default(rate)
    legs = [held.leg for held in holdings]
    known = {leg.symbol: marks.get(leg.symbol) or leg.entry for leg in legs}
    figures = account_figures(cash, rate, legs, known, brackets)
    prices = dynamic_liquidation_prices(cash, rate, legs, known, safe_threshold(threshold), brackets)
    marked = tuple(_marked(held, known[held.leg.symbol], prices[held.leg.id]) for held in holdings)
    largest = largest_leg(legs)
    return summarize(figures, None if largest is None else prices[largest.id]), marked


def summarize(figures: Figures[float], account_liquidation_price: float | None) -> AccountSummary:
    """Return the display view of computed figures."""
    return AccountSummary(
        figures.equity,
        figures.equity_raw,
        figures.balance,
        figures.unrealized_pnl,
        figures.margin_used,
        figures.available_margin,
        figures.total_exposure,
        figures.maintenance_margin,
        figures.margin_ratio,
        account_liquidation_price,
        figures.position_count,
    )


def account_state(
    account: SubAccount,
    positions: Sequence[Position],
    marks: Mapping[str, float],
    rules: RiskRules,
    sequence: int,
    brackets: Brackets[float] | None = None,
) -> AccountState:
    """Return one consistent view of an account; `balance` shows cash (balance less owed, decision 4)."""
    summary, marked = mark_account(
        float(account.cash),
        float(account.maintenance_rate),
        [holding(position) for position in positions],
        marks,
        float(rules.liquidation_threshold),
        brackets,
    )
    live = tuple(
        LivePosition(position, item.mark_price, item.unrealized_pnl, item.pnl_percent, item.liquidation_price)
        for position, item in zip(positions, marked, strict=True)
    )
    return AccountState(account, live, summary, rules, sequence)


def marked_leg(live: LivePosition) -> MarkedLeg:
    """Return the figures of a live position in the form that the event builders take."""
    held = holding(live.position)
    return _with_figures(held, live.mark_price, live.unrealized_pnl, live.pnl_percent, live.liquidation_price)


def pnl_update(sub_account_id: str, marked: MarkedLeg) -> dict[str, JsonValue]:
    """Return the data of `pnl_update`."""
    leg = marked.leg
    return {
        "subAccountId": sub_account_id,
        "positionId": leg.id,
        "symbol": leg.symbol,
        "side": _side(leg),
        "entryPrice": leg.entry,
        "markPrice": marked.mark_price,
        "quantity": leg.quantity,
        "unrealizedPnl": marked.unrealized_pnl,
        "liquidationPrice": marked.liquidation_price,
        "margin": leg.margin,
        "pnlPercent": marked.pnl_percent,
    }


def margin_update(
    sub_account_id: str, summary: AccountSummary, rules: RiskRules | None = None
) -> dict[str, JsonValue]:
    """Return the data of `margin_update`, with `rules` for the size slider when given (gateway spec 7.4)."""
    data = {"subAccountId": sub_account_id, **_margin_members(summary)}
    del data["equityRaw"]
    data["accountLiqPrice"] = summary.account_liquidation_price
    data["positionCount"] = summary.position_count
    if rules is not None:
        data["rules"] = rules_data(rules)
    return data


def margin_warning(sub_account_id: str, margin_ratio: float) -> dict[str, JsonValue]:
    """Return the data of `margin_warning`; the text has an em dash (spec 5.11)."""
    percent = fixed_text(margin_ratio * 100, 1)
    return {
        "subAccountId": sub_account_id,
        "marginRatio": margin_ratio,
        "message": f"Margin ratio {percent}% — approaching liquidation",
    }


def full_liquidation(sub_account_id: str, margin_ratio: float, mode: str) -> dict[str, JsonValue]:
    """Return the data of `full_liquidation`; `mode` is a `liquidation.Label`."""
    return {"subAccountId": sub_account_id, "marginRatio": margin_ratio, "mode": mode}


def adl_triggered(sub_account_id: str, tier: int, symbol: str, margin_ratio: float) -> dict[str, JsonValue]:
    """Return the data of `adl_triggered`; the fraction is always 0.3."""
    return {
        "subAccountId": sub_account_id,
        "tier": tier,
        "symbol": symbol,
        "fraction": 0.3,
        "marginRatio": margin_ratio,
    }


def rules_data(rules: RiskRules) -> dict[str, JsonValue]:
    """Return the rules that the browser needs."""
    return {
        "maxNotionalPerTrade": float(rules.notional_per_trade_max),
        "maxLeverage": float(rules.leverage_max),
        "maxTotalExposure": float(rules.exposure_max),
    }


def snapshot(
    sub_account_id: str,
    timestamp_ms: int,
    status: str,
    mode: str | None,
    threshold: float | None,
    summary: AccountSummary,
    positions: Sequence[MarkedLeg],
) -> dict[str, JsonValue]:
    """Return the risk snapshot: the union of both shapes that readers know (spec 2.1)."""
    items: list[JsonValue] = [_snapshot_position(marked) for marked in positions]
    return {
        "subAccountId": sub_account_id,
        "timestamp": timestamp_ms,
        "status": status,
        "liquidationMode": mode,
        "liquidationThreshold": threshold,
        **_margin_members(summary),
        "accountLiqPrice": summary.account_liquidation_price,
        "positionCount": summary.position_count,
        "positions": items,
    }


def state_snapshot(state: AccountState, timestamp_ms: int) -> dict[str, JsonValue]:
    """Return the risk snapshot of a whole state."""
    return snapshot(
        state.account.id,
        timestamp_ms,
        state.account.status,
        state.account.liquidation_mode,
        safe_threshold(float(state.rules.liquidation_threshold)),
        state.summary,
        [marked_leg(live) for live in state.positions],
    )


def zeroed_snapshot(
    sub_account_id: str,
    timestamp_ms: int,
    balance: float,
    status: str = AccountStatus.LIQUIDATED,
    mode: str | None = None,
) -> dict[str, JsonValue]:
    """Return the snapshot after a full liquidation: never throttled away (H17)."""
    return snapshot(sub_account_id, timestamp_ms, status, mode, None, zeroed_summary(balance), ())


def zeroed_summary(balance: float) -> AccountSummary:
    """Return the summary of an account without positions."""
    return AccountSummary(balance, balance, balance, 0.0, 0.0, balance, 0.0, 0.0, 0.0, None, 0)


def iso_text(timestamp_ms: int | None) -> str | None:
    """Return ISO-8601 UTC with three decimals and Z (spec 0.3.7)."""
    if timestamp_ms is None:
        return None
    moment = datetime.fromtimestamp(timestamp_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{timestamp_ms % 1000:03d}Z"


def _marked(held: Holding, mark: float, liquidation_price: float) -> MarkedLeg:
    leg = held.leg
    profit = pnl(leg.is_long, leg.entry, mark, leg.quantity)
    percent = profit / leg.margin * 100 if leg.margin > 0 else 0.0
    return _with_figures(held, mark, profit, percent, liquidation_price)


def _with_figures(held: Holding, mark: float, profit: float, percent: float, price: float) -> MarkedLeg:
    return MarkedLeg(
        held.leg, mark, profit, percent, price, held.leverage, held.babysitter_excluded, held.opened_at_ms
    )


def _side(leg: Leg[float]) -> str:
    return "LONG" if leg.is_long else "SHORT"


def _margin_members(summary: AccountSummary) -> dict[str, JsonValue]:
    return {
        "equity": summary.equity,
        "equityRaw": summary.equity_raw,
        "balance": summary.balance,
        "unrealizedPnl": summary.unrealized_pnl,
        "marginUsed": summary.margin_used,
        "availableMargin": summary.available_margin,
        "totalExposure": summary.total_exposure,
        "maintenanceMargin": summary.maintenance_margin,
        "marginRatio": summary.margin_ratio,
    }


def _snapshot_position(marked: MarkedLeg) -> dict[str, JsonValue]:
    leg = marked.leg
    return {
        "id": leg.id,
        "symbol": leg.symbol,
        "side": _side(leg),
        "entryPrice": leg.entry,
        "markPrice": marked.mark_price,
        "quantity": leg.quantity,
        "notional": leg.notional,
        "leverage": marked.leverage,
        "margin": leg.margin,
        "liquidationPrice": marked.liquidation_price,
        "unrealizedPnl": marked.unrealized_pnl,
        "pnlPercent": marked.pnl_percent,
        "babysitterExcluded": marked.babysitter_excluded,
        "openedAt": iso_text(marked.opened_at_ms),
    }
