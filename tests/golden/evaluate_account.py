"""Drives the product's liquidation decision and view builders as the incumbent's evaluation was driven.

The decision and every figure are the product's. What carries a decision out here is a few lines that settle
closes at the given price with zero fee, as the format notes of ledger spec 11 say; execution does this for
real.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pms.model.account import LiquidationMode
from pms.model.signature import fixed_text
from pms.risk import view
from pms.risk.formulas import (
    Figures,
    Leg,
    account_figures,
    maintenance_rate_or_default,
    pnl,
    positive_part,
    safe_threshold,
)
from pms.risk.liquidation import (
    LiquidateAll,
    PartialClose,
    TakeOverAll,
    Timing,
    Warn,
    after_escalation,
    decide,
)
from pms.risk.view import Holding

NOW_MS = 1_768_478_400_000


class CloseFailed(Exception):
    """The scripted failure of one close."""


@dataclass(slots=True)
class _Held:
    holding: Holding
    liquidation_price: float


class Evaluation:
    """One evaluation of one account, recording everything that it emits and asks for."""

    def __init__(self, given: Any) -> None:
        account = given["account"]
        self.id: str = account["id"]
        self.status: str = account["status"]
        self.mode_text: str = account["liquidationMode"]
        self.balance = float(account["currentBalance"])
        self.rate = maintenance_rate_or_default(float(account.get("maintenanceRate") or 0.0))
        rules = given.get("rules") or {}
        self.threshold = safe_threshold(float(rules.get("liquidationThreshold") or 0.0))
        self.prices = {symbol: float(price) for symbol, price in given["prices"].items() if price}
        self.fail_ids = set(given.get("failIds") or ())
        self.partial_close_applies = given.get("partialCloseApplies", True)
        self.book = {item["id"]: _held(item) for item in given["positions"]}
        self.events: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.status_writes: list[dict[str, Any]] = []
        self.snapshots: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        holdings = [held.holding for held in self.book.values()]
        summary, marked = view.mark_account(self.balance, self.rate, holdings, self.prices, self.threshold)
        for item in marked:
            self.book[item.leg.id].liquidation_price = item.liquidation_price
            self._emit("pnl_update", view.pnl_update(self.id, item))
        self._emit("margin_update", view.margin_update(self.id, summary))
        self.snapshots.append(
            view.snapshot(self.id, NOW_MS, self.status, self.mode_text, self.threshold, summary, marked)
        )
        self._act()
        return {
            "events": self.events,
            "calls": self.calls,
            "statusWrites": self.status_writes,
            "snapshots": self.snapshots,
            "bookAfter": self._book_after(),
        }

    def _act(self) -> None:
        mode = {item.value: item for item in LiquidationMode}.get(self.mode_text, LiquidationMode.ADL_30)
        decision = decide(mode, self.threshold, self._figures(), self._legs(), {}, self._timing())
        match decision:
            case Warn(ratio):
                self._emit("margin_warning", view.margin_warning(self.id, ratio))
            case LiquidateAll() | TakeOverAll():
                self._end_all(decision)
            case PartialClose():
                self._step(decision)

    def _step(self, step: PartialClose[float]) -> None:
        self._emit("adl_triggered", view.adl_triggered(self.id, step.tier, step.symbol, step.margin_ratio))
        call = {
            "call": "partialClose",
            "positionId": step.position_id,
            "fraction": 0.3,
            "action": step.action.value,
        }
        self.calls.append(call)
        if step.position_id in self.fail_ids:
            return
        if self.partial_close_applies:
            self._reduce(step.position_id, step.quantity)
        if step.tier == 3:
            again = after_escalation(self.threshold, self._figures(), self._legs(), self._timing())
            if isinstance(again, LiquidateAll):
                self._end_all(again)

    def _end_all(self, act: LiquidateAll[float] | TakeOverAll[float]) -> None:
        self._emit("full_liquidation", view.full_liquidation(self.id, act.margin_ratio, act.label.value))
        for key in list(self.book):
            if isinstance(act, TakeOverAll):
                self.calls.append({"call": "takeoverPosition", "positionId": key, "by": "SYSTEM_LIQ"})
            else:
                self.calls.append({"call": "liquidatePosition", "positionId": key})
            if key not in self.fail_ids:
                leg = self.book.pop(key).holding.leg
                self._settle(leg, leg.quantity)
        # The vectors set the status whatever failed; the product asks `may_mark_liquidated` (H11, decision
        # 21).
        self.status = "LIQUIDATED"
        self.status_writes.append({"status": self.status})
        self._emit("margin_update", view.margin_update(self.id, view.zeroed_summary(self.balance)))
        mode = self.mode_text if self.book else None
        self.snapshots.append(view.zeroed_snapshot(self.id, NOW_MS, self.balance, self.status, mode))

    def _reduce(self, key: str, quantity: float) -> None:
        held = self.book[key]
        leg = held.holding.leg
        closed = float(fixed_text(quantity, 8))
        self._settle(leg, closed)
        left = float(fixed_text(leg.quantity - closed, 8))
        notional = left * leg.entry
        smaller = replace(leg, quantity=left, notional=notional, margin=notional / held.holding.leverage)
        held.holding = replace(held.holding, leg=smaller)

    def _settle(self, leg: Leg[float], quantity: float) -> None:
        price = self.prices.get(leg.symbol) or leg.entry
        self.balance = positive_part(self.balance + pnl(leg.is_long, leg.entry, price, quantity))

    def _legs(self) -> list[Leg[float]]:
        return [held.holding.leg for held in self.book.values()]

    def _figures(self) -> Figures[float]:
        return account_figures(self.balance, self.rate, self._legs(), self.prices)

    def _timing(self) -> Timing:
        return Timing(NOW_MS, dict.fromkeys(self.prices, 0))

    def _emit(self, kind: str, data: dict[str, Any]) -> None:
        self.events.append({"type": kind, "data": data})

    def _book_after(self) -> dict[str, Any] | None:
        if not self.book:
            return None
        positions = [
            {
                "id": key,
                "quantity": held.holding.leg.quantity,
                "notional": held.holding.leg.notional,
                "margin": held.holding.leg.margin,
                "liquidationPrice": held.liquidation_price,
            }
            for key, held in self.book.items()
        ]
        return {"status": self.status, "currentBalance": self.balance, "positions": positions}


def evaluate_account(given: Any) -> dict[str, Any]:
    """Answer a vector of `evaluateAccount`."""
    return Evaluation(given).run()


def _held(item: Any) -> _Held:
    leg = Leg(
        item["id"],
        item["symbol"],
        item["side"] == "LONG",
        float(item["entryPrice"]),
        float(item["quantity"]),
        float(item["notional"]),
        float(item["margin"]),
    )
    opened = item.get("openedAt")
    opened_ms = None if opened is None else round(datetime.fromisoformat(opened).timestamp() * 1000)
    holding = Holding(leg, float(item["leverage"]), bool(item.get("babysitterExcluded")), opened_ms)
    return _Held(holding, float(item["liquidationPrice"]))
