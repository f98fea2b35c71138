"""What the exchange itself does to the real account's positions and orders, and how it is told apart.

A position that the exchange closes comes as a fill of an order that nobody here placed (Binance spec 5.3); an
order that it ends says why in its expiry reason.
"""

from collections.abc import Mapping
from enum import StrEnum

from pms.model.ids import ClientOrderId


class ExchangeClose(StrEnum):
    """Why the exchange closed; the value is the action of the trade rows that it leads to.

    LIQUIDATION: the real account's margin was used up. ADL: a profitable position was taken for somebody
    else's liquidation. SETTLEMENT: the symbol was delisted or delivered.
    """

    LIQUIDATION = "EXCHANGE_LIQUIDATION"
    ADL = "EXCHANGE_ADL"
    SETTLEMENT = "EXCHANGE_SETTLEMENT"


_PREFIXES = {
    "autoclose-": ExchangeClose.LIQUIDATION,
    "adl_autoclose": ExchangeClose.ADL,
    "settlement_autoclose-": ExchangeClose.SETTLEMENT,
    "delivery_autoclose-": ExchangeClose.SETTLEMENT,
}


def exchange_close_of(client_order_id: ClientOrderId, *, forced: bool = False) -> ExchangeClose | None:
    """Return what kind of close of the exchange an order is; None for anybody's own order.

    `forced`: the exchange called the order's type LIQUIDATION, whatever its id says.
    """
    for prefix, kind in _PREFIXES.items():
        if client_order_id.startswith(prefix):
            return kind
    return ExchangeClose.LIQUIDATION if forced else None


NEVER_REPLACED: Mapping[str, str] = {
    "5": "ACCOUNT_LIQUIDATED",
    "6": "CONDITION_NOT_MET",
    "7": "SYMBOL_DELISTED",
}
"""Expiry reasons after which an order is never placed again (decision 11), by the code that the journal
keeps. 5: the real account was liquidated. 6: the condition of a GTE order is gone. 7: the symbol left."""

NEVER_REPLACED_CODES = frozenset(NEVER_REPLACED.values())
