"""The view: figures and event data for the outside."""

import json
from decimal import Decimal

from pms.model.account import PositionSide
from pms.risk import view
from tests.unit.risk.builders import BTC, ETH, WIDE_RULES, account, position

OWNER = account(balance=1000, owed=100)
HELD = [
    position(BTC, PositionSide.LONG, "0.1", 50_000, leverage=10),
    position(ETH, PositionSide.SHORT, 1, 3_000, leverage=5),
]
STATE = view.account_state(OWNER, HELD, {BTC: 51_000.0}, WIDE_RULES, 7)


def test_summary_and_live_positions() -> None:
    summary = STATE.summary
    assert (summary.balance, summary.unrealized_pnl, summary.equity) == (900.0, 100.0, 1000.0)
    assert (summary.margin_used, summary.available_margin) == (1100.0, -100.0)
    assert (summary.total_exposure, summary.maintenance_margin, summary.margin_ratio) == (8000.0, 40.0, 0.04)
    assert summary.position_count == 2
    first, second = STATE.positions
    assert (first.mark_price, first.unrealized_pnl, first.pnl_percent) == (51_000.0, 100.0, 20.0)
    assert second.mark_price == 3000.0
    assert summary.account_liquidation_price == first.liquidation_price
    assert STATE.sequence == 7


def test_events() -> None:
    marked = view.marked_leg(STATE.positions[0])
    data = view.pnl_update("acct-1", marked)
    assert data == {
        "subAccountId": "acct-1",
        "positionId": HELD[0].id,
        "symbol": BTC,
        "side": "LONG",
        "entryPrice": 50_000.0,
        "markPrice": 51_000.0,
        "quantity": 0.1,
        "unrealizedPnl": 100.0,
        "liquidationPrice": STATE.positions[0].liquidation_price,
        "margin": 500.0,
        "pnlPercent": 20.0,
    }
    margin = view.margin_update("acct-1", STATE.summary, WIDE_RULES)
    assert margin["rules"] == {
        "maxNotionalPerTrade": 100_000.0,
        "maxLeverage": 100.0,
        "maxTotalExposure": 1_000_000.0,
    }
    assert "equityRaw" not in margin
    assert margin["positionCount"] == 2
    assert view.margin_warning("acct-1", 0.8064)["message"] == "Margin ratio 80.6% — approaching liquidation"


def test_snapshot_is_the_union_of_both_shapes() -> None:
    data = view.state_snapshot(STATE, 1_768_478_400_123)
    assert {"status", "liquidationMode", "liquidationThreshold", "accountLiqPrice", "positionCount"} <= set(
        data
    )
    assert {"equity", "equityRaw", "marginRatio", "positions"} <= set(data)
    assert json.loads(json.dumps(data)) == data
    zeroed = view.zeroed_snapshot("acct-1", 5, 12.5)
    assert (zeroed["status"], zeroed["equity"], zeroed["positions"]) == ("LIQUIDATED", 12.5, [])
    assert (zeroed["liquidationThreshold"], zeroed["accountLiqPrice"], zeroed["marginRatio"]) == (
        None,
        None,
        0.0,
    )


def test_equity_is_floored_and_its_raw_figure_kept() -> None:
    state = view.account_state(
        account(balance=10), [position(quantity=1, entry=100)], {BTC: 50.0}, WIDE_RULES, 0
    )
    assert (state.summary.equity, state.summary.equity_raw, state.summary.margin_ratio) == (0.0, -40.0, 999.0)


def test_times_have_three_decimals() -> None:
    assert view.iso_text(1_768_478_400_007) == "2026-01-15T12:00:00.007Z"
    assert view.iso_text(None) is None


def test_no_margin_means_no_percentage() -> None:
    tiny = view.account_state(
        account(), [position(quantity=1, entry=0, leverage=Decimal(1))], {BTC: 5.0}, WIDE_RULES, 0
    )
    assert tiny.positions[0].pnl_percent == 0.0
