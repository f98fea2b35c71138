"""What a trade costs: the rate of the account's tier, in the margin asset or, cheaper, in BNB (spec 7)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pms.simulator.config import Fees, Tier
from pms.simulator.state import BNB, FUND_ID, ZERO, Account, round_money


@dataclass(frozen=True, slots=True)
class Charge:
    """A fee: what is taken, and its worth in the margin asset. Negative is a rebate."""

    asset: str
    amount: Decimal
    value: Decimal


def tier_of(fees: Fees, tier: int, margin_asset: str) -> Tier:
    """Return maker and taker rate of a tier; a tier beyond the table is its last row."""
    table = fees.usdc_tiers if margin_asset == "USDC" else fees.tiers
    if not tier and margin_asset != "USDC":
        return Tier(fees.maker, fees.taker)
    return table[min(tier, len(table) - 1)]


def charge(
    fees: Fees, account: Account, notional: Decimal, maker: bool, margin_asset: str, bnb_price: Decimal
) -> Charge:
    """Return the fee of a trade.

    It is paid in BNB, with the discount, when the account burns BNB, `bnb_price` (in the margin asset) is
    known and the balance suffices; else in the margin asset. The insurance fund pays nothing.
    """
    if account.account_id == FUND_ID:
        return Charge(margin_asset, ZERO, ZERO)
    rates = tier_of(fees, account.fee_tier, margin_asset)
    value = notional * (rates.maker if maker else rates.taker)
    if account.fee_burn and bnb_price > 0 and value > 0:
        cheaper = value * (1 - fees.bnb_discount)
        amount = round_money(cheaper / bnb_price)
        if account.wallets.get(BNB, ZERO) >= amount:
            return Charge(BNB, amount, round_money(cheaper))
    value = round_money(value)
    return Charge(margin_asset, value, value)
