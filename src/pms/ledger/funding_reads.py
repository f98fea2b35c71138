"""What funding needs to know from the database before it is planned: executions since, payments made.

Read in the writer's turn, by an operation that is committed alone: nothing comes between reading and booking.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from pms.ledger.reader import Reader
from pms.ledger.rendering import Kind, encode, time_ms
from pms.ledger.store import Store
from pms.model.ids import ExchangeAccountId, SubAccountId
from pms.model.income import FundingKey, FundingRate, FundingType, Income
from pms.model.money import ZERO, Price
from pms.model.order import OrderSide
from pms.model.symbol import Symbol


@dataclass(frozen=True, slots=True)
class Paid:
    """What an account received for one funding so far: for which signed quantity, and in how many rows."""

    signed_quantity: Decimal = ZERO
    amount: Decimal = ZERO
    rows: int = 0


@dataclass(frozen=True, slots=True)
class FundingState:
    """One funding in the database. `booked` is the event as written, None before; `moved` what each account
    has traded in the symbol since its moment, signed."""

    booked: FundingRate | None = None
    moved: Mapping[SubAccountId, Decimal] = field(default_factory=dict)
    paid: Mapping[SubAccountId, Paid] = field(default_factory=dict)


class FundingReads:
    """Reads of one exchange account."""

    def __init__(self, store: Store, ours: ExchangeAccountId) -> None:
        self._store = store
        self._ours = ours

    async def state(self, key: FundingKey, *, paid: bool = True) -> FundingState:
        """Return what is booked of a funding, and for one that is not, what it needs; payments if wanted."""
        sql = (
            "SELECT * FROM pms_funding_events WHERE exchange_account_id = ? AND symbol = ?"
            " AND funding_time = ? AND type = ?"
        )
        rows = await self._store.fetch(sql, self._ours, key.symbol, key.time_ms, key.type.value)
        if rows:
            return FundingState(_funding(Reader("pms_funding_events", rows[0])))
        moved = await self.moved_since(key.symbol, key.time_ms)
        return FundingState(None, moved, await self._paid(key) if paid else {})

    async def later_than(self, symbol: Symbol, moment_ms: int) -> Sequence[FundingState]:
        """Return the fundings booked for a time after the moment, with their payments, oldest first."""
        sql = (
            "SELECT * FROM pms_funding_events WHERE exchange_account_id = ? AND symbol = ?"
            " AND funding_time > ? ORDER BY funding_time, type"
        )
        result = []
        for row in await self._store.fetch(sql, self._ours, symbol, moment_ms):
            booked = _funding(Reader("pms_funding_events", row))
            result.append(FundingState(booked, paid=await self._paid(booked.key)))
        return result

    async def moved_since(self, symbol: Symbol, moment_ms: int) -> Mapping[SubAccountId, Decimal]:
        """Return Σ signed quantity that each account traded or was given at or after a moment."""
        moment = encode(Kind.TIME, moment_ms, sqlite=self._store.dialect == "sqlite")
        sql = (
            "SELECT a.sub_account_id, a.side, a.quantity FROM pms_fills f JOIN pms_fill_allocations a"
            " ON a.exchange_account_id = f.exchange_account_id AND a.fill_id = f.id"
            " WHERE f.exchange_account_id = ? AND f.symbol = ? AND f.trade_time >= ?"
            " AND a.sub_account_id IS NOT NULL"
        )
        moved: dict[SubAccountId, Decimal] = defaultdict(Decimal)
        for row in await self._store.fetch(sql, self._ours, symbol, moment):
            sign = OrderSide(str(row["side"])).sign
            moved[SubAccountId(str(row["sub_account_id"]))] += sign * Decimal(str(row["quantity"]))
        sql = (
            "SELECT sub_account_id, signed_quantity FROM pms_opening_entries"
            " WHERE exchange_account_id = ? AND symbol = ? AND timestamp >= ?"
        )
        for row in await self._store.fetch(sql, self._ours, symbol, moment):
            moved[SubAccountId(str(row["sub_account_id"]))] += Decimal(str(row["signed_quantity"]))
        return moved

    async def first_move_ms(self, symbol: Symbol, since_ms: int) -> int | None:
        """Return when an account first traded the symbol, or was adopted with it, at or after a moment; None
        for never."""
        moment = encode(Kind.TIME, since_ms, sqlite=self._store.dialect == "sqlite")
        sql = (
            "SELECT min(trade_time) AS first FROM pms_fills"
            " WHERE exchange_account_id = ? AND symbol = ? AND trade_time >= ?"
        )
        rows = await self._store.fetch(sql, self._ours, symbol, moment)
        sql = (
            "SELECT min(timestamp) AS first FROM pms_opening_entries"
            " WHERE exchange_account_id = ? AND symbol = ? AND timestamp >= ?"
        )
        rows += await self._store.fetch(sql, self._ours, symbol, moment)
        return min((time_ms(row["first"]) for row in rows if row["first"] is not None), default=None)

    async def anybody_paid(self, symbol: Symbol, funding_time_ms: int) -> bool:
        """True when some account had a part in the symbol's fundings of a moment."""
        sql = (
            "SELECT 1 AS found FROM pms_funding_payments WHERE exchange_account_id = ? AND symbol = ?"
            " AND funding_time = ? LIMIT 1"
        )
        return bool(await self._store.fetch(sql, self._ours, symbol, funding_time_ms))

    async def income_posted(self, epoch: str, income: Income) -> bool:
        """True when the line is in the ledger."""
        sql = (
            "SELECT 1 AS found FROM pms_income WHERE exchange_account_id = ? AND epoch = ?"
            " AND income_type = ? AND transaction_id = ? AND native_symbol = ?"
        )
        key = (epoch, income.type, income.transaction_id, income.native_symbol)
        return bool(await self._store.fetch(sql, self._ours, *key))

    async def _paid(self, key: FundingKey) -> Mapping[SubAccountId, Paid]:
        sql = (
            "SELECT sub_account_id, signed_quantity, amount FROM pms_funding_payments"
            " WHERE exchange_account_id = ? AND symbol = ? AND funding_time = ? AND type = ?"
        )
        result: dict[SubAccountId, Paid] = {}
        for row in await self._store.fetch(sql, self._ours, key.symbol, key.time_ms, key.type.value):
            account = SubAccountId(str(row["sub_account_id"]))
            before = result.get(account, Paid())
            result[account] = Paid(
                before.signed_quantity + Decimal(str(row["signed_quantity"])),
                before.amount + Decimal(str(row["amount"])),
                before.rows + 1,
            )
        return result


def _funding(reader: Reader) -> FundingRate:
    key = FundingKey(
        Symbol(reader.text("symbol")), reader.number("funding_time"), FundingType(reader.text("type"))
    )
    return FundingRate(key, reader.exact("rate"), Price(reader.exact("mark_price")))
