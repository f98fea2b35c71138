"""Settings of an account that its owner may change: leverage, modes, fee asset (Binance spec 2.5)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from pms.simulator import errors, wire_events
from pms.simulator.account_book import AccountBook
from pms.simulator.changes import Journal
from pms.simulator.clearing import Clearing
from pms.simulator.errors import Reject
from pms.simulator.margin_desk import MarginDesk
from pms.simulator.order_index import OrderIndex
from pms.simulator.rules import SymbolRules
from pms.simulator.state import BOTH, CROSSED, LONG, SHORT, ZERO, Account, Position


class AccountSettings:
    """Changes settings, or says with the venue's codes why not."""

    def __init__(
        self,
        journal: Journal,
        book: AccountBook,
        orders: OrderIndex,
        clearing: Clearing,
        margin_desk: MarginDesk,
        rules: Mapping[str, SymbolRules],
    ) -> None:
        self._journal = journal
        self._book = book
        self._orders = orders
        self._clearing = clearing
        self._margin_desk = margin_desk
        self._rules = rules

    def set_leverage(self, account: Account, symbol: str, leverage: int, now_ms: int) -> Reject | None:
        """Set the leverage of a symbol; refused when the position or the margin does not allow it."""
        rules, desk = self._rules[symbol], self._margin_desk
        if not 1 <= leverage <= rules.leverage_max:
            return Reject(-4028, f"Leverage {leverage} is not valid")
        asset, before = desk.asset_of(symbol), account.leverage.get(symbol)
        if (
            account.isolates(symbol)
            and leverage < self._book.leverage_of(account, symbol)
            and self._holds(account, symbol)
        ):
            return errors.ISOLATED_LEVERAGE
        old = desk.of(account, asset)
        account.leverage[symbol] = leverage
        new = desk.of(account, asset)
        used = max((leg.initial * leverage for leg in new.legs.values() if leg.symbol == symbol), default=0)
        refused = None
        if used > rules.max_notional(leverage):
            refused = errors.MAX_POSITION
        elif new.free < 0 and new.initial > old.initial:
            refused = Reject(-2028, "Leverage is smaller than permitted: insufficient margin balance.")
        if refused:
            account.leverage.pop(symbol)
            if before is not None:
                account.leverage[symbol] = before
            return refused
        self._book.changed(account)
        self._journal.emit(account, wire_events.leverage_update(symbol, leverage, now_ms))
        return None

    def _holds(self, account: Account, symbol: str) -> bool:
        return any(p.symbol == symbol for p in self._clearing.held_by(account))

    def set_position_mode(self, account: Account, hedge: bool) -> Reject | None:
        """Switch between one-way and hedge mode; only without open orders and positions."""
        if account.hedge_mode == hedge:
            return Reject(-4059, "No need to change position side.")
        if self._orders.exposures.used(account.account_id):
            return Reject(-4067, "Position side cannot be changed if there exists open orders.")
        if self._clearing.held_by(account):
            return Reject(-4068, "Position side cannot be changed if there exists position.")
        account.hedge_mode = hedge
        self._book.changed(account)
        return None

    def set_margin_type(self, account: Account, symbol: str, kind: str, now_ms: int) -> Reject | None:
        """Put a symbol on ISOLATED or CROSSED margin; only without open orders and positions in it."""
        if kind == account.margin_type.get(symbol, CROSSED):
            return Reject(-4046, "No need to change margin type.")
        if any(s == symbol for s, _ in self._orders.exposures.used(account.account_id)):
            return Reject(-4047, "Margin type cannot be changed if there exists open orders.")
        if self._holds(account, symbol):
            return Reject(-4048, "Margin type cannot be changed if there exists position.")
        account.margin_type[symbol] = kind
        self._book.changed(account)
        sides = (BOTH, LONG, SHORT) if account.hedge_mode else (BOTH,)
        listed = [self._clearing.position_of(account, symbol, side) for side in sides]
        moved = {self._margin_desk.asset_of(symbol): ZERO}
        self._clearing.tell(account, listed, "MARGIN_TYPE_CHANGE", moved, now_ms)
        return None

    def change_position_margin(
        self, account: Account, position: Position, amount: Decimal, now_ms: int
    ) -> Reject | None:
        """Move an amount into (or, negative, out of) the wallet of an isolated position."""
        symbol = position.symbol
        if not account.isolates(symbol):
            return errors.NOT_ISOLATED
        if not position.quantity:
            return errors.NO_ISOLATED_POSITION if amount > 0 else errors.ISOLATED_BALANCE
        if amount > self._margin_desk.of(account, self._margin_desk.asset_of(symbol)).addable:
            return errors.CROSS_BALANCE
        if -amount > self._margin_desk.leg(account, symbol, position.side).removable:
            return errors.ISOLATED_BALANCE
        self._clearing.move_margin(account, position, amount, now_ms)
        return None

    def set_multi_assets(self, account: Account, joint: bool) -> Reject | None:
        """Only single-asset mode is modelled (decision 0037)."""
        if not joint:
            text = "Adjusted asset mode is currently set and does not need to be adjusted repeatedly."
            return Reject(-4171, text)
        if self._orders.exposures.used(account.account_id):
            return Reject(-4170, "Unable to adjust Multi-Assets Mode with open orders in USDⓈ-M Futures.")
        if any(account.isolates(symbol) for symbol in account.margin_type):
            return errors.MULTI_ASSETS_ISOLATED
        return errors.NOT_ALLOWED

    def set_fee_burn(self, account: Account, burn: bool) -> None:
        """Pay fees in BNB, or not."""
        account.fee_burn = burn
        self._book.changed(account)

    def set_fee_tier(self, account: Account, tier: int) -> None:
        """Put the account on a row of the fee table."""
        account.fee_tier = tier
        self._book.changed(account)
