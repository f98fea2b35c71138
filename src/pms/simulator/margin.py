"""Margin maths of a simulated account: initial, maintenance, availability, liquidation price (spec 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from pms.exchange.messages import Bracket
from pms.simulator.exposure import Exposure
from pms.simulator.rules import SymbolRules
from pms.simulator.state import BOTH, ZERO, Market, Position

BRACKET_ROUNDS = 12
"""The bracket at the liquidation price is found by iteration; no table has more rows than that."""


@dataclass(frozen=True, slots=True)
class LegMargin:
    """Figures of one position side, in the symbol's margin asset. `notional` has the position's sign."""

    symbol: str
    side: str
    notional: Decimal
    unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    bid_notional: Decimal
    ask_notional: Decimal
    isolated: bool = False
    isolated_wallet: Decimal = ZERO

    @property
    def initial(self) -> Decimal:
        """Initial margin of position and open orders."""
        return self.position_initial + self.order_initial

    @property
    def isolated_margin(self) -> Decimal:
        """Margin balance of an isolated position: its wallet and unrealized profit; zero on cross margin."""
        return self.isolated_wallet + self.unrealized if self.isolated else ZERO

    @property
    def ratio(self) -> Decimal:
        """Maintenance over margin balance of an isolated position; 1 and above is liquidation."""
        return _ratio(self.maintenance, self.isolated_margin)

    @property
    def removable(self) -> Decimal:
        """What may be taken out of the isolated wallet: initial and maintenance margin stay covered."""
        spare = min(
            self.isolated_wallet - self.maintenance,
            self.isolated_wallet + self.unrealized - self.position_initial,
        )
        return max(spare, ZERO)


@dataclass(frozen=True, slots=True)
class AccountMargin:
    """Totals of an account in one margin asset, isolated positions included; `cross_…` leaves those out.

    `available`, `withdrawable` and `addable` are floored at zero.
    """

    asset: str
    wallet: Decimal
    cross_wallet: Decimal
    unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    cross_unrealized: Decimal
    cross_position_initial: Decimal
    cross_maintenance: Decimal
    isolated_order_initial: Decimal
    legs: Mapping[tuple[str, str], LegMargin]

    @property
    def initial(self) -> Decimal:
        """Initial margin of all positions and open orders."""
        return self.position_initial + self.order_initial

    @property
    def equity(self) -> Decimal:
        """Margin balance: wallet and unrealized profit."""
        return self.wallet + self.unrealized

    @property
    def cross_equity(self) -> Decimal:
        """Margin balance of the cross margin, which bears the cross positions and every open order."""
        return self.cross_wallet + self.cross_unrealized

    @property
    def free(self) -> Decimal:
        """Cross margin balance minus the initial margins it bears; may be negative."""
        return self.cross_equity - self.cross_position_initial - self.order_initial

    @property
    def available(self) -> Decimal:
        """`free`, floored at zero."""
        return max(self.free, ZERO)

    @property
    def withdrawable(self) -> Decimal:
        """What may leave the account: unrealized profit does not count."""
        return max(min(self.free, self.free - self.cross_unrealized), ZERO)

    @property
    def addable(self) -> Decimal:
        """What may be moved into an isolated wallet (the venue's FAQ on adjusting margin)."""
        spare = self.cross_wallet - self.isolated_order_initial - self.cross_maintenance
        return max(min(spare, self.free), ZERO)

    @property
    def ratio(self) -> Decimal:
        """Maintenance over cross margin balance; 1 and above is liquidation. Zero without positions."""
        return _ratio(self.cross_maintenance, self.cross_equity)


def _ratio(maintenance: Decimal, equity: Decimal) -> Decimal:
    if not maintenance:
        return ZERO
    return maintenance / equity if equity > 0 else Decimal("Infinity")


def reference_price(position: Position, market: Market) -> Decimal:
    """Return the price that values a position: the mark, before the first one the book or the entry."""
    return market.mark or (market.mid if market.live else position.entry)


def leg_margin(
    position: Position,
    exposure: Exposure,
    reference: Decimal,
    rules: SymbolRules,
    leverage: int,
    isolated: bool = False,
) -> LegMargin:
    """Return the figures of one position side; open orders count as max(|pos + bids|, |pos − asks|)."""
    notional = position.quantity * reference
    held = abs(notional)
    worst = max(abs(notional + exposure.bids), abs(notional - exposure.asks), held)
    if position.side != BOTH:
        worst = held + exposure.bids + exposure.asks
    return LegMargin(
        symbol=rules.symbol,
        side=position.side,
        notional=notional,
        unrealized=position.unrealized(reference),
        position_initial=held / leverage,
        order_initial=(worst - held) / leverage,
        maintenance=rules.maintenance(held),
        bid_notional=exposure.bid_notional,
        ask_notional=exposure.ask_notional,
        isolated=isolated,
        isolated_wallet=position.isolated_wallet if isolated else ZERO,
    )


def total(
    asset: str, wallet: Decimal, legs: Iterable[LegMargin], cross_wallet: Decimal | None = None
) -> AccountMargin:
    """Sum the legs of one margin asset (single-asset mode); without isolated wallets all of it is cross."""
    by_key = {(leg.symbol, leg.side): leg for leg in legs}
    values = by_key.values()
    cross = [leg for leg in values if not leg.isolated]
    return AccountMargin(
        asset=asset,
        wallet=wallet,
        cross_wallet=wallet if cross_wallet is None else cross_wallet,
        unrealized=sum((leg.unrealized for leg in values), ZERO),
        position_initial=sum((leg.position_initial for leg in values), ZERO),
        order_initial=sum((leg.order_initial for leg in values), ZERO),
        maintenance=sum((leg.maintenance for leg in values), ZERO),
        cross_unrealized=sum((leg.unrealized for leg in cross), ZERO),
        cross_position_initial=sum((leg.position_initial for leg in cross), ZERO),
        cross_maintenance=sum((leg.maintenance for leg in cross), ZERO),
        isolated_order_initial=sum((leg.order_initial for leg in values if leg.isolated), ZERO),
        legs=by_key,
    )


def liquidation_price(positions: Iterable[Position], account: AccountMargin, rules: SymbolRules) -> Decimal:
    """Return the mark of one symbol at which margin balance equals maintenance; zero when there is none.

    `positions` are all sides held of the symbol on cross margin (both legs of a hedge have the same price),
    or one isolated position, with totals of it alone. The equation is
    Σ q × p − cost + wallet + others = Σ |q| × p × rate − cum, with the brackets that hold at p.
    """
    held = [position for position in positions if position.quantity]
    if not held:
        return ZERO
    own = [account.legs[position.symbol, position.side] for position in held]
    others = account.cross_unrealized - account.cross_maintenance
    others += sum((leg.maintenance - leg.unrealized for leg in own), ZERO)
    notionals = [abs(leg.notional) for leg in own]
    price = ZERO
    for _ in range(BRACKET_ROUNDS):
        found = [_bracket(rules.brackets, notional) for notional in notionals]
        brackets = [bracket for bracket in found if bracket is not None]
        if len(brackets) != len(held):
            return ZERO
        rates = [
            p.quantity - abs(p.quantity) * b.maint_margin_ratio for p, b in zip(held, brackets, strict=True)
        ]
        divisor = sum(rates, ZERO)
        gap = (
            sum((p.cost - b.cum for p, b in zip(held, brackets, strict=True)), ZERO)
            - account.cross_wallet
            - others
        )
        if not divisor or gap / divisor <= 0:
            return ZERO
        before, price = price, gap / divisor
        if price == before:
            break
        notionals = [abs(p.quantity) * price for p in held]
    return price


def _bracket(brackets: Iterable[Bracket], notional: Decimal) -> Bracket | None:
    return next((bracket for bracket in brackets if notional <= bracket.notional_cap), None)
