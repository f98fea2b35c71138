"""One operation being planned: reads through a book layer, collects row writes, states and events. No I/O.

Every helper that moves money also adds its double-entry lines (signs: `pms.ledger.journal`); `finish` refuses
an operation whose lines do not sum to zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import orjson

from pms.ledger.api import Actor, Committed, HouseLineKind, HousePosition, LiquidationPriceOf, TradeRow
from pms.ledger.book import AccountRecord, Book, OrderRecord
from pms.ledger.journal import JournalAccount
from pms.ledger.pools import Pool
from pms.ledger.rendering import Cell, json_number, signature
from pms.ledger.rows import RowWrite
from pms.model.account import Position, PositionSide, PositionStatus, SubAccount
from pms.model.errors import InvariantError
from pms.model.event import DurableEvent, JsonValue
from pms.model.ids import ClientOrderId, ExchangeAccountId, PositionId, SubAccountId, TradeExecutionId
from pms.model.money import ZERO, Money, Price, round_cost
from pms.model.order import JournalOrder
from pms.model.restriction import RestrictionEntry
from pms.model.symbol import Symbol
from pms.model.trading_rules import EquityMark, RuleSet

DEFAULT_MAINTENANCE_RATE = Decimal("0.005")
DEFAULT_THRESHOLD = Decimal("0.90")
_RESULTS = frozenset({"FUNDING"})
"""Movements without a trade that are results of trading all the same; every other one is a transfer."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What stays the same for all operations of a ledger. `..._allocates`: who bears fills that nobody here
    ordered, and closes of the exchange: the holders, or (False) the house (decision 11)."""

    exchange_account_id: ExchangeAccountId
    liquidation_price: LiquidationPriceOf
    charge_open_fees: bool = True
    foreign_close_allocates: bool = True
    exchange_close_allocates: bool = True
    liquidation_fee_rate: Decimal = ZERO
    """Share of a liquidated notional that the account pays to the house's insurance."""


@dataclass(frozen=True, slots=True)
class _Line:
    account: str
    sub_account_id: SubAccountId | None
    symbol: Symbol | None
    detail: str | None
    amount: Decimal


class Plan:
    """The work space of one operation. `now_ms` and `uuid` are injected; `link` is the commit group's
    number."""

    def __init__(
        self, base: Book, settings: Settings, now_ms: int, uuid: Callable[[], str], link: int
    ) -> None:
        self.book = Book(base)
        self.settings = settings
        self.now_ms = now_ms
        self.uuid = uuid
        self.link = link
        self.writes: list[RowWrite] = []
        self.trades: list[TradeRow] = []
        self.events: list[DurableEvent] = []
        self._lines: list[_Line] = []
        self._positions: dict[PositionId, Position] = {}
        self._orders: dict[ClientOrderId, JournalOrder] = {}
        self._pools: dict[ClientOrderId, Pool] = {}
        self._symbols: dict[Symbol, None] = {}
        self._house_symbols: dict[Symbol, None] = {}
        self._restrictions: list[RestrictionEntry] = []
        self._rule_sets: list[RuleSet] = []
        self._marks: list[EquityMark] = []

    # --- rows -----------------------------------------------------------------------------------------------
    @property
    def ours(self) -> ExchangeAccountId:
        return self.settings.exchange_account_id

    def insert(self, table: str, key: tuple[Cell, ...], values: dict[str, Cell]) -> None:
        self.writes.append(RowWrite(table, key, values, insert=True))

    def insert_ours(self, table: str, key: dict[str, Cell], values: dict[str, Cell]) -> None:
        """Insert into one of our tables: the exchange account is part of every key."""
        full: dict[str, Cell] = {"exchange_account_id": self.ours, **key}
        self.insert(table, tuple(full.values()), {**full, **values})

    def update(
        self,
        table: str,
        key: tuple[Cell, ...],
        values: dict[str, Cell],
        condition: dict[str, Cell] | None = None,
    ) -> None:
        self.writes.append(RowWrite(table, key, values, insert=False, condition=condition or {}))

    # --- double entry ---------------------------------------------------------------------------------------
    def line(
        self,
        account: str,
        amount: Decimal,
        *,
        sub_account_id: SubAccountId | None = None,
        symbol: Symbol | None = None,
        detail: str | None = None,
    ) -> None:
        """Collect a line of the next entry; `account` is a `JournalAccount`. Zero is no line."""
        if amount:
            self._lines.append(_Line(JournalAccount(account), sub_account_id, symbol, detail, amount))

    def post(self, kind: str, reference: str | None) -> None:
        """Write the collected lines as one journal entry. Raises InvariantError unless they sum to zero."""
        lines, self._lines = self._lines, []
        total = sum((line.amount for line in lines), ZERO)
        if total:
            raise InvariantError(f"Invariant: journal lines sum to zero; {kind} {reference} sums to {total}")
        if not lines:
            return
        entry = self.uuid()
        self.insert_ours(
            "pms_journal_entries",
            {"id": entry},
            {"kind": kind, "reference": reference, "timestamp": self.now_ms, "link": self.link},
        )
        for number, line in enumerate(lines):
            self.insert_ours(
                "pms_journal_lines",
                {"entry_id": entry, "number": number},
                {
                    "account": line.account,
                    "sub_account_id": line.sub_account_id,
                    "symbol": line.symbol,
                    "detail": line.detail,
                    "amount": line.amount,
                    "link": self.link,
                },
            )

    # --- accounts -------------------------------------------------------------------------------------------
    def put_account(self, account: SubAccount, *, name: str | None = None) -> SubAccount:
        """Store a changed account: the incumbent's row and, when money moved, the exact one."""
        record = self.book.accounts.get(account.id)
        if record is None:
            raise InvariantError(f"Invariant: only known accounts change; {account.id} is not in the book")
        account = replace(account, updated_at_ms=self.now_ms)
        revision = record.revision
        values = account_values(account)
        if name is not None:
            values["name"] = name
        self.update("sub_accounts", (account.id,), values)
        if account.balance != record.account.balance:
            revision += 1
            self.update(
                "pms_account_exact",
                (self.ours, account.id),
                {"balance": account.balance, "revision": revision},
                {"revision": record.revision},
            )
        self.book.accounts.set(account.id, AccountRecord(account, revision))
        return account

    def move_cash(
        self,
        account: SubAccount,
        delta: Decimal,
        reason: str,
        trade_id: TradeExecutionId | None = None,
        log_id: str | None = None,
    ) -> SubAccount:
        """Apply a requested delta (ledger spec 5.0.2, decision 4): a credit repays what is owed first, a
        debit is clamped at zero and the rest is owed. Writes the balance log (under `log_id` if given);
        `change_amount` keeps the requested delta."""
        before = account.balance
        repaid = min(account.owed, delta) if delta > 0 else ZERO
        wanted = before + delta - repaid
        after = max(ZERO, wanted)
        owed_change = (after - wanted) - repaid
        log_id = log_id or self.uuid()
        self.insert(
            "balance_logs",
            (log_id,),
            {
                "id": log_id,
                "sub_account_id": account.id,
                "balance_before": before,
                "balance_after": after,
                "change_amount": delta,
                "reason": reason,
                "trade_id": trade_id,
                "timestamp": self.now_ms,
            },
        )
        self.line("CASH", before - after, sub_account_id=account.id, detail=reason)
        if trade_id is None and reason not in _RESULTS:
            self._shift_equity_mark(account.id, delta)
        changed = replace(account, balance=Money(after))
        if owed_change:
            changed = self.change_owed(changed, owed_change, reason, log_id)
        return self.put_account(changed)

    def _shift_equity_mark(self, account_id: SubAccountId, delta: Decimal) -> None:
        """A transfer is neither a loss nor a gain: what losses are measured from moves with it."""
        mark = self.book.equity_marks.get(account_id)
        if mark is not None and delta:
            self.put_equity_mark(
                replace(
                    mark,
                    day_start_equity=mark.day_start_equity + delta,
                    peak_equity=mark.peak_equity + delta,
                )
            )

    def put_equity_mark(self, mark: EquityMark) -> None:
        """Store what the losses of an account are measured from."""
        values: dict[str, Cell] = {
            "day": mark.day,
            "day_start_equity": round_cost(mark.day_start_equity),
            "peak_equity": round_cost(mark.peak_equity),
            "updated_at": self.now_ms,
        }
        if self.book.equity_marks.get(mark.sub_account_id) is None:
            self.insert_ours("pms_equity_marks", {"sub_account_id": mark.sub_account_id}, values)
        else:
            self.update("pms_equity_marks", (self.ours, mark.sub_account_id), values)
        self.book.equity_marks.set(mark.sub_account_id, mark)
        self._marks.append(mark)

    def change_owed(
        self, account: SubAccount, change: Decimal, reason: str, log_id: str | None
    ) -> SubAccount:
        """Add to what an account owes (negative: repaid or written off); the caller stores the account."""
        amount = account.owed + change
        if amount < 0:
            raise InvariantError(f"Invariant: owed is not negative; {account.id} would owe {amount}")
        values: dict[str, Cell] = {"amount": amount, "updated_at": self.now_ms}
        if self.book.owed_rows.get(account.id):
            self.update("pms_owed", (self.ours, account.id), values)
        else:
            self.insert_ours("pms_owed", {"sub_account_id": account.id}, values)
            self.book.owed_rows.set(account.id, True)
        self.insert_ours(
            "pms_owed_lines",
            {"id": self.uuid()},
            {
                "sub_account_id": account.id,
                "amount": change,
                "reason": reason,
                "balance_log_id": log_id,
                "timestamp": self.now_ms,
                "link": self.link,
            },
        )
        self.line("OWED", change, sub_account_id=account.id, detail=reason)
        return replace(account, owed=Money(amount))

    # --- positions ------------------------------------------------------------------------------------------
    def liquidation_price(
        self, account: SubAccount, side: PositionSide, entry: Decimal, notional: Decimal
    ) -> Price:
        """Return the static liquidation price of ledger spec 3.4; 0 when it is not finite."""
        threshold = self.book.rules_of(account.id).liquidation_threshold
        if not 0 < threshold <= 1:
            threshold = DEFAULT_THRESHOLD
        rate = account.maintenance_rate or DEFAULT_MAINTENANCE_RATE
        price = self.settings.liquidation_price(side, entry, account.cash, notional, rate, threshold)
        return Price(round_cost(price) if price.is_finite() else ZERO)

    def put_position(
        self,
        position: Position,
        *,
        realized_pnl: Decimal | None = None,
        cost_change: Decimal = ZERO,
        further: Mapping[str, Cell] | None = None,
    ) -> Position:
        """Store a new or changed position in both tables. `cost_change` is the signed cost that came or
        went, `further` columns of the incumbent's row that no figure follows from."""
        before = self.book.positions.get(position.id)
        values = position_values(position, realized_pnl) | dict(further or {})
        exact: dict[str, Cell] = {
            "sub_account_id": position.sub_account_id,
            "symbol": position.symbol,
            "side": position.side,
            "quantity": position.quantity,
            "cost": position.cost,
            "leverage": position.leverage,
            "status": position.status,
            "revision": position.revision,
        }
        if before is None:
            fresh: dict[str, Cell] = {"taken_over": False, "opened_at": position.opened_at_ms}
            self.insert("virtual_positions", (position.id,), {"id": position.id, **values, **fresh})
            self.insert_ours("pms_position_exact", {"position_id": position.id}, exact)
        else:
            if position.status is not PositionStatus.OPEN:
                values["closed_at"] = self.now_ms
            # Spec H9b: a row leaves OPEN once; a row that somebody else closed matches nothing.
            self.update("virtual_positions", (position.id,), values, {"status": "OPEN"})
            self.update("pms_position_exact", (self.ours, position.id), exact, {"revision": before.revision})
        self._index_position(before, position)
        self.line("POSITION", cost_change, sub_account_id=position.sub_account_id, symbol=position.symbol)
        return position

    def adopt_position(self, position: Position) -> None:
        """Let the book follow an open position that is in the database already."""
        self._index_position(None, position)

    def _index_position(self, before: Position | None, position: Position) -> None:
        is_open = position.status is PositionStatus.OPEN
        was = ZERO if before is None else before.signed_quantity
        now = position.signed_quantity if is_open else ZERO
        net = (self.book.virtual_net.get(position.symbol) or ZERO) + now - was
        self.book.virtual_net.set(position.symbol, net)
        self.book.positions.set(position.id, position if is_open else None)
        self.book.open_index.set((position.sub_account_id, position.symbol), position.id if is_open else None)
        self._positions[position.id] = position
        self._symbols[position.symbol] = None

    # --- orders ---------------------------------------------------------------------------------------------
    def put_order(self, record: OrderRecord) -> JournalOrder:
        """Store a changed order; a terminal one leaves the book."""
        order = record.order
        self.update(
            "pms_order_journal", (self.ours, order.client_order_id), order_values(record, self.now_ms)
        )
        self.note_order(record)
        return order

    def note_order(self, record: OrderRecord) -> None:
        """Let the book and the result follow an order that was written."""
        order = record.order
        terminal = order.state.terminal
        self.book.orders.set(order.client_order_id, None if terminal else record)
        self.book.ended.set(order.client_order_id, record if terminal else None)
        if order.pending_order_id is not None:
            self.book.pending_index.set(order.pending_order_id, None if terminal else order.client_order_id)
        self._orders[order.client_order_id] = order

        pool = self.book.pools.get(order.client_order_id)
        if pool is not None and pool.ended is not terminal:
            self.put_pool(replace(pool, ended=terminal))

    def change_order_leverage(self, client_order_id: ClientOrderId, leverage: Decimal) -> None:
        """Give a live order another leverage: what it opens has that one (ledger spec 5.2)."""
        record = self.book.orders.get(client_order_id)
        if record is None:
            return
        record = replace(record, order=replace(record.order, leverage=leverage))
        values = {**order_values(record, self.now_ms), "leverage": leverage}
        self.update("pms_order_journal", (self.ours, client_order_id), values)
        self.note_order(record)

    def note_pool(self, pool: Pool) -> None:
        """Let the book and the result follow a pool that was written; one that is done leaves the book."""
        self.book.pools.set(pool.client_order_id, None if pool.done else pool)
        self._pools[pool.client_order_id] = pool

    def put_pool(self, pool: Pool) -> None:
        """Store a changed pool."""
        after = replace(pool, revision=pool.revision + 1)
        self.update(
            "pms_pools",
            (self.ours, pool.client_order_id),
            {
                "allocated": after.allocated,
                "state": "DONE" if after.done else "OPEN",
                "revision": after.revision,
                "updated_at": self.now_ms,
            },
            {"revision": pool.revision},
        )
        self.note_pool(after)

    # --- house ----------------------------------------------------------------------------------------------
    def house_line(
        self,
        kind: HouseLineKind,
        *,
        cash: Decimal = ZERO,
        symbol: Symbol | None = None,
        signed_quantity: Decimal = ZERO,
        signed_cost: Decimal = ZERO,
        reference: str | None = None,
        sub_account_id: SubAccountId | None = None,
    ) -> None:
        """Append a line to the house and its double-entry lines (decision 6)."""
        self.insert_ours(
            "pms_house_lines",
            {"id": self.uuid()},
            {
                "kind": kind,
                "symbol": symbol,
                "signed_quantity": signed_quantity,
                "signed_cost": signed_cost,
                "cash": cash,
                "reference": reference,
                "sub_account_id": sub_account_id,
                "timestamp": self.now_ms,
                "link": self.link,
            },
        )
        self.book.house_cash.set(kind, (self.book.house_cash.get(kind) or ZERO) + cash)
        self.line("HOUSE_CASH", -cash, detail=kind)
        if symbol is not None:
            held = self.book.house_position(symbol)
            after = HousePosition(
                symbol, held.signed_quantity + signed_quantity, held.signed_cost + signed_cost
            )
            self.book.house.set(symbol, after)
            self.line("HOUSE_POSITION", signed_cost, symbol=symbol, detail=kind)
            self._symbols[symbol] = self._house_symbols[symbol] = None

    # --- trades, events, actions ----------------------------------------------------------------------------
    def trade(self, row: TradeRow) -> None:
        self.trades.append(row)
        self.insert("trade_executions", (row.id,), trade_values(row))

    def sign_close(self, account_id: SubAccountId, tag: str, position_id: PositionId) -> str:
        """Return a signature of the close family (ledger spec 3.13)."""
        return signature(account_id, tag, position_id, str(self.now_ms), self.uuid())

    def event(self, type_: str, account_id: SubAccountId, data: Mapping[str, JsonValue]) -> DurableEvent:
        """Append a durable event; `subAccountId` is added to its data."""
        sequence = (self.book.event_sequence.get(account_id) or 0) + 1
        self.book.event_sequence.set(account_id, sequence)
        full: dict[str, JsonValue] = {"subAccountId": account_id, **data}
        event = DurableEvent(type_, account_id, sequence, full, self.now_ms)
        self.events.append(event)
        self.insert_ours(
            "pms_outbox",
            {"sub_account_id": account_id, "sequence": sequence},
            {"type": type_, "data": orjson.dumps(full).decode(), "timestamp": self.now_ms},
        )
        return event

    def account_event(self, account: SubAccount) -> DurableEvent:
        data: dict[str, JsonValue] = {
            "name": account.name,
            "status": account.status.value,
            "balance": json_number(account.balance),
        }
        return self.event("account_updated", account.id, data)

    def action(
        self,
        actor: Actor,
        action: str,
        target: str | None,
        before: Mapping[str, JsonValue] | None = None,
        after: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Record who did what (the audit trail of actions)."""
        self.insert_ours(
            "pms_actions",
            {"id": self.uuid()},
            {
                "actor": actor.id,
                "via": actor.via,
                "action": action,
                "target": target,
                "before": None if before is None else orjson.dumps(dict(before)).decode(),
                "after": None if after is None else orjson.dumps(dict(after)).decode(),
                "timestamp": self.now_ms,
            },
        )

    def touch_account(self, account_id: SubAccountId) -> None:
        """Name an account in the result although none of its rows changed."""
        self.book.accounts.set(account_id, self.book.accounts.get(account_id))

    def note_rule_set(self, rules: RuleSet) -> None:
        """Name a new version of rules in the result."""
        self._rule_sets.append(rules)

    def note_restriction(self, entry: RestrictionEntry) -> None:
        """Name a changed restriction in the result."""
        self._restrictions.append(entry)

    def touch_symbol(self, symbol: Symbol) -> None:
        self._symbols[symbol] = None

    # --- the end --------------------------------------------------------------------------------------------
    def finish(self) -> Committed:
        """Return what changed, and hand this layer's states to the layer below."""
        if self._lines:
            raise InvariantError("Invariant: every operation posts its journal lines before it ends")
        committed = Committed(
            accounts=tuple(
                record.account for _, record in self.book.accounts.changed() if record is not None
            ),
            positions=tuple(self._positions.values()),
            orders=tuple(self._orders.values()),
            trades=tuple(self.trades),
            house=tuple(self.book.house_position(symbol) for symbol in self._house_symbols),
            expected_net={symbol: self.book.expected_net(symbol) for symbol in self._symbols},
            events=tuple(self.events),
            restrictions=tuple(self._restrictions),
            rule_sets=tuple(self._rule_sets),
            equity_marks=tuple(self._marks),
            pools=tuple(self._pools.values()),
        )
        self.book.merge()
        return committed


def account_values(account: SubAccount) -> dict[str, Cell]:
    """Return the columns of `sub_accounts` that the ledger changes; the chained ones are all here."""
    return {
        "initial_balance": account.initial_balance,
        "current_balance": account.balance,
        "status": account.status,
        "liquidation_mode": account.liquidation_mode,
        "maintenance_rate": account.maintenance_rate,
        "updated_at": account.updated_at_ms,
    }


def position_values(position: Position, realized_pnl: Decimal | None) -> dict[str, Cell]:
    """Return the columns of `virtual_positions` that a fill changes."""
    return {
        "sub_account_id": position.sub_account_id,
        "symbol": position.symbol,
        "side": position.side,
        "entry_price": position.entry_price,
        "quantity": position.quantity,
        "notional": position.notional,
        "leverage": position.leverage,
        "margin": position.margin,
        "liquidation_price": position.liquidation_price,
        "status": position.status,
        "realized_pnl": realized_pnl,
        "babysitter_excluded": position.babysitter_excluded,
    }


def trade_values(row: TradeRow) -> dict[str, Cell]:
    """Return a `trade_executions` row."""
    return {
        "id": row.id,
        "sub_account_id": row.sub_account_id,
        "position_id": row.position_id,
        "exchange_order_id": row.exchange_order_id,
        "client_order_id": row.client_order_id,
        "symbol": row.symbol,
        "side": row.side,
        "type": row.type,
        "price": row.price,
        "quantity": row.quantity,
        "notional": row.notional,
        "fee": row.fee,
        "realized_pnl": row.realized_pnl,
        "action": row.action,
        "origin_type": row.origin_type,
        "status": row.status,
        "signature": row.signature,
        "timestamp": row.timestamp_ms,
    }


def order_values(record: OrderRecord, now_ms: int) -> dict[str, Cell]:
    """Return the columns of `pms_order_journal` that change, with the chained ones."""
    order = record.order
    return {
        "sub_account_id": order.sub_account_id,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.quantity,
        "state": order.state,
        "final_status": record.final_status,
        "executed_quantity": order.executed_quantity,
        "booked_quantity": order.booked_quantity,
        "booked_notional": record.booked_notional,
        "updated_at": now_ms,
        "timestamp_ms": order.timestamp_ms,
        "recv_window_ms": order.recv_window_ms,
        "exchange_order_id": order.exchange_order_id,
        "position_id": order.position_id,
        "pending_order_id": order.pending_order_id,
        "reject_code": order.reject_code,
        "reject_message": order.reject_message,
    }
