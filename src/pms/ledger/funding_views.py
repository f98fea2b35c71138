"""Funding as people look at it: what the exchange paid, what accounts did, and the residue (decision 8)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from pms.ledger.rendering import Cell, decode
from pms.ledger.schema import table_info
from pms.ledger.store import Store
from pms.model.ids import ExchangeAccountId
from pms.model.money import ZERO
from pms.model.symbol import Symbol

CHARGED_WITHIN_MS = 600_000
"""The exchange's line belongs to the nearest funding that is no further away: it is charged within about a
minute (Binance spec 7), and recorded funding times are some milliseconds past the hour."""

_Row = dict[str, Cell]


@dataclass(frozen=True, slots=True)
class FundingLine:
    """One funding moment of a symbol, amounts as received. `residue` is the house's: its own position's
    share, rounding, and what was traded between the moment and the exchange's charge."""

    TABLES: ClassVar[tuple[str, ...]] = ("pms_funding_events", "pms_funding_payments", "pms_income")

    symbol: Symbol
    time_ms: int
    holders: int
    exchange: Decimal
    accounts: Decimal

    @property
    def residue(self) -> Decimal:
        return self.exchange - self.accounts


def residues(events: Iterable[_Row], payments: Iterable[_Row], income: Iterable[_Row]) -> list[FundingLine]:
    """Return every funding moment with both sides, oldest first. Pure.

    A line of the exchange without a booked funding stands for itself at its own time.
    """
    times: dict[str, list[int]] = defaultdict(list)
    for row in events:
        times[str(row["symbol"])].append(int(row["funding_time"] or 0))
    accounts: dict[tuple[str, int], Decimal] = defaultdict(Decimal)
    holders: dict[tuple[str, int], set[str]] = defaultdict(set)
    for row in payments:
        place = (str(row["symbol"]), int(row["funding_time"] or 0))
        accounts[place] += Decimal(row["amount"] or 0)
        holders[place].add(str(row["sub_account_id"]))
    exchange: dict[tuple[str, int], Decimal] = defaultdict(Decimal)
    for row in income:
        if row["kind"] == "FUNDING":
            symbol, moment = str(row["symbol"] or row["native_symbol"]), int(row["income_time"] or 0)
            near = (time for time in times[symbol] if abs(moment - time) <= CHARGED_WITHIN_MS)
            nearest = min(((abs(moment - time), time) for time in near), default=(0, moment))[1]
            exchange[(symbol, nearest)] += Decimal(row["amount"] or 0)
    moments = {(symbol, time) for symbol, known in times.items() for time in known}
    return [
        FundingLine(
            Symbol(place[0]),
            place[1],
            len(holders[place]),
            exchange.get(place, ZERO),
            accounts.get(place, ZERO),
        )
        for place in sorted(moments | accounts.keys() | exchange.keys(), key=lambda place: (place[1], place))
    ]


async def read_residues(store: Store, ours: ExchangeAccountId, since_ms: int) -> list[FundingLine]:
    """Return the funding moments since a time, oldest first, from committed rows."""
    found: list[list[_Row]] = []
    for table, column in zip(
        FundingLine.TABLES, ("funding_time", "funding_time", "income_time"), strict=True
    ):
        sql = f"SELECT * FROM {table} WHERE exchange_account_id = ? AND {column} >= ?"  # noqa: S608 -- ours
        kinds = table_info(table).kinds
        rows = await store.fetch(sql, ours, since_ms)
        found.append([{name: decode(kinds[name], value) for name, value in row.items()} for row in rows])
    return residues(*found)
