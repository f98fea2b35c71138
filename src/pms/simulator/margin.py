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

    @property
    def initial(self) -> Decimal:
        """Initial margin of position and open orders."""
        return self.position_initial + self.order_initial


@dataclass(frozen=True, slots=True)
class AccountMargin:
    """Totals of an account in one margin asset; `available` and `withdrawable` are floored at zero."""

    asset: str
    wallet: Decimal
    unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
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
    def free(self) -> Decimal:
        """Margin balance minus initial margins; may be negative."""
        return self.equity - self.initial

    @property
    def available(self) -> Decimal:
        """`free`, floored at zero."""
        return max(self.free, ZERO)

    @property
    def withdrawable(self) -> Decimal:
        """What may leave the account: unrealized profit does not count."""
        return max(self.wallet + min(self.unrealized, ZERO) - self.initial, ZERO)

    @property
    def ratio(self) -> Decimal:
        """Maintenance margin over margin balance; 1 and above is liquidation. Zero without positions."""
        if not self.maintenance:
            return ZERO
        return self.maintenance / self.equity if self.equity > 0 else Decimal("Infinity")


def reference_price(position: Position, market: Market) -> Decimal:
    """Return the price that values a position: the mark, before the first one the book or the entry."""
    return market.mark or (market.mid if market.live else position.entry)


def leg_margin(
    position: Position, exposure: Exposure, reference: Decimal, rules: SymbolRules, leverage: int
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
    )


def total(asset: str, wallet: Decimal, legs: Iterable[LegMargin]) -> AccountMargin:
    """Sum the legs of one margin asset (single-asset mode, cross margin)."""
    by_key = {(leg.symbol, leg.side): leg for leg in legs}
    values = by_key.values()
    return AccountMargin(
        asset=asset,
        wallet=wallet,
        unrealized=sum((leg.unrealized for leg in values), ZERO),
        position_initial=sum((leg.position_initial for leg in values), ZERO),
        order_initial=sum((leg.order_initial for leg in values), ZERO),
        maintenance=sum((leg.maintenance for leg in values), ZERO),
        legs=by_key,
    )


def liquidation_price(positions: Iterable[Position], account: AccountMargin, rules: SymbolRules) -> Decimal:
    """Return the mark of one symbol at which margin balance equals maintenance; zero when there is none.

    `positions` are all sides held of the symbol; both legs of a hedge have the same price. The equation is
    Σ q × p − cost + wallet + others = Σ |q| × p × rate − cum, with the brackets that hold at p.
    """
    held = [position for position in positions if position.quantity]
    if not held:
        return ZERO
    own = [account.legs[position.symbol, position.side] for position in held]
    others = account.unrealized - account.maintenance
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
            sum((p.cost - b.cum for p, b in zip(held, brackets, strict=True)), ZERO) - account.wallet - others
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
