"""Realised results of an account, from its executions and balance rows; pure (gateway spec 6.6, `stats`)."""

from collections.abc import Sequence
from decimal import Decimal

from pms.gateway import wire
from pms.gateway.bounds import CURVE_POINTS_MAX
from pms.gateway.ports import BalanceLogRow, ClosingTrade
from pms.gateway.render import iso
from pms.model.account import SubAccount

DAY_MS = 24 * 3_600_000
OPENING_ACTIONS = frozenset({"OPEN", "ADD"})
PROFIT_FACTOR_MAX = 999.0
"""Stands for "no losses"; infinity is no JSON and crashes the incumbent's page (H-31)."""


def _period(trades: Sequence[ClosingTrade]) -> wire.PeriodBody:
    results = [trade.realized_pnl or Decimal(0) for trade in trades]
    return wire.PeriodBody(
        rpnl=float(sum(results, Decimal(0))),
        count=len(results),
        wins=sum(result > 0 for result in results),
        losses=sum(result < 0 for result in results),
        total_fees=float(sum((trade.fee for trade in trades), Decimal(0))),
    )


def _activity(trades: Sequence[ClosingTrade], closing: Sequence[ClosingTrade]) -> wire.ActivityBody:
    results = [trade.realized_pnl or Decimal(0) for trade in closing]
    won = sum((result for result in results if result > 0), Decimal(0))
    lost = -sum((result for result in results if result < 0), Decimal(0))
    factor = PROFIT_FACTOR_MAX if won else 0.0
    if lost:
        factor = min(PROFIT_FACTOR_MAX, float(won / lost))
    count = len(results)
    return wire.ActivityBody(
        total_trades=len(trades),
        total_fees=float(sum((trade.fee for trade in trades), Decimal(0))),
        win_rate=100.0 * sum(result > 0 for result in results) / count if count else 0.0,
        avg_pnl=float(sum(results, Decimal(0)) / count) if count else 0.0,
        best_trade=float(max(results, default=Decimal(0))),
        worst_trade=float(min(results, default=Decimal(0))),
        profit_factor=factor,
    )


def thinned(points: Sequence[wire.CurvePoint], points_max: int = CURVE_POINTS_MAX) -> list[wire.CurvePoint]:
    """Return at most that many points, evenly chosen, first and last kept."""
    count = len(points)
    if count <= points_max:
        return list(points)
    return [points[index * (count - 1) // (points_max - 1)] for index in range(points_max)]


def of_account(
    account: SubAccount, trades: Sequence[ClosingTrade], logs: Sequence[BalanceLogRow], now_ms: int
) -> wire.StatsBody:
    """Return the statistics; `logs` newest first. Days begin at midnight UTC."""
    closing = [trade for trade in trades if trade.action not in OPENING_ACTIONS]

    def since(start_ms: int) -> wire.PeriodBody:
        return _period([trade for trade in closing if trade.timestamp_ms >= start_ms])

    curve = [
        wire.CurvePoint(time=iso(row.timestamp_ms), value=float(row.balance_after)) for row in reversed(logs)
    ]
    return wire.StatsBody(
        account=wire.StatsAccountBody(id=account.id, name=account.name, balance=float(account.balance)),
        periods=wire.PeriodsBody(
            today=since(now_ms - now_ms % DAY_MS),
            week=since(now_ms - 7 * DAY_MS),
            month=since(now_ms - 30 * DAY_MS),
            all=_period(closing),
        ),
        activity=_activity(trades, closing),
        equity_curve=thinned(curve),
    )
