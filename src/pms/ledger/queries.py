"""Reads for people: history, orders, balance logs, audit trail; and the table of idempotency keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from pms.ledger.api import RestingRow, TradeRow
from pms.ledger.errors import DuplicateKeyError
from pms.ledger.funding_views import FundingLine, read_residues
from pms.ledger.load import read_order
from pms.ledger.load_control import read_rule_set
from pms.ledger.load_liquidations import read_liquidation
from pms.ledger.operations.control import GLOBAL_SCOPE
from pms.ledger.reader import Reader
from pms.ledger.records import (
    BalanceLogRow,
    ClosingTrade,
    HistoryFilter,
    HistoryPage,
    PendingRow,
    PositionRef,
    StoredResult,
)
from pms.ledger.rendering import DatabaseValue, Kind, Row, encode
from pms.ledger.store import Store
from pms.model.account import PositionSide, PositionStatus
from pms.model.clock import Clock
from pms.model.event import DurableEvent
from pms.model.ids import (
    BalanceLogId,
    ClientOrderId,
    ExchangeAccountId,
    ExchangeOrderId,
    PendingOrderId,
    PositionId,
    SubAccountId,
    TradeExecutionId,
    TradeId,
)
from pms.model.liquidation import LiquidationRecord
from pms.model.money import Money, Price, Quantity
from pms.model.order import JournalOrder, OrderSide, OrderType
from pms.model.symbol import Symbol
from pms.model.trading_rules import RuleSet

IDEMPOTENCY_KEPT_MS = 24 * 3600 * 1000
EVENTS_PAGE_MAX = 1_000
_SCOPE = "http"


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One line of the audit trail; `before` and `after` are JSON texts."""

    id: str
    actor: str
    via: str
    action: str
    target: str | None
    before: str | None
    after: str | None
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class BreachRow:
    """One broken rule; `evidence` is a JSON text."""

    rule: str
    action: str
    rules_version: int
    evidence: str
    timestamp_ms: int


class Queries:
    """Committed rows only. Every list has a limit; ids that nobody knows give None or nothing."""

    def __init__(self, store: Store, ours: ExchangeAccountId, clock: Clock) -> None:
        self._store = store
        self._ours = ours
        self._clock = clock

    async def position(self, position_id: PositionId) -> PositionRef | None:
        """Return a position's row, closed ones included."""
        found = await self._positions([position_id])
        return found.get(position_id)

    async def pending_order(self, pending_order_id: PendingOrderId) -> PendingRow | None:
        sql = "SELECT id, sub_account_id, status FROM pending_orders WHERE id = ?"
        rows = await self._store.fetch(sql, pending_order_id)
        if not rows:
            return None
        owner = SubAccountId(str(rows[0]["sub_account_id"]))
        return PendingRow(PendingOrderId(str(rows[0]["id"])), owner, str(rows[0]["status"]))

    async def order(self, client_order_id: ClientOrderId) -> JournalOrder | None:
        """Return a journal order, ended ones included."""
        sql = "SELECT * FROM pms_order_journal WHERE exchange_account_id = ? AND client_order_id = ?"
        rows = await self._store.fetch(sql, self._ours, client_order_id)
        return read_order(rows[0]).order if rows else None

    async def orders_with_key(self, idempotency_key: str) -> Sequence[JournalOrder]:
        """Return the orders that a request with this key made, in their order. Reads the whole journal: only
        for a request whose first life did not answer."""
        sql = "SELECT * FROM pms_order_journal WHERE exchange_account_id = ? AND idempotency_key = ?"
        rows = await self._store.fetch(sql + " ORDER BY sequence", self._ours, idempotency_key)
        return [read_order(row).order for row in rows]

    async def trades_of(self, orders: Sequence[JournalOrder]) -> Sequence[TradeRow]:
        """Return the executions of some orders, oldest first."""
        found: list[TradeRow] = []
        for order in orders:
            if order.exchange_order_id is not None:
                sql = "SELECT * FROM trade_executions WHERE exchange_order_id = ? AND client_order_id = ?"
                sql += " ORDER BY timestamp, id"
                rows = await self._store.fetch(sql, order.exchange_order_id, order.client_order_id)
                found += [read_trade(row) for row in rows]
        return found

    async def order_by_pending(self, pending_order_id: PendingOrderId) -> JournalOrder | None:
        """Return a journal order by its row id, ended ones included."""
        sql = "SELECT * FROM pms_order_journal WHERE exchange_account_id = ? AND pending_order_id = ?"
        rows = await self._store.fetch(sql, self._ours, pending_order_id)
        return read_order(rows[0]).order if rows else None

    async def pending_orders(self, sub_account_id: SubAccountId, limit: int = 500) -> Sequence[JournalOrder]:
        """Return the account's resting orders that are PENDING, newest first."""
        sql = (
            "SELECT j.* FROM pending_orders p JOIN pms_order_journal j ON j.pending_order_id = p.id"
            " WHERE p.sub_account_id = ? AND p.status = 'PENDING' ORDER BY j.sequence DESC LIMIT ?"
        )
        return [read_order(row).order for row in await self._store.fetch(sql, sub_account_id, limit)]

    async def resting_of_the_incumbent(self) -> Sequence[RestingRow]:
        """Return PENDING rows with an exchange id that no journal order stands behind, oldest first."""
        sql = (
            "SELECT * FROM pending_orders p WHERE p.status = 'PENDING' AND p.exchange_order_id IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM pms_order_journal j WHERE j.pending_order_id = p.id)"
            " ORDER BY p.created_at, p.id"
        )
        return [_resting(row) for row in await self._store.fetch(sql)]

    async def liquidations(
        self, sub_account_id: SubAccountId, limit: int = 100
    ) -> Sequence[LiquidationRecord]:
        """Return what was decided about an account, newest first, with the evidence of each decision."""
        sql = (
            "SELECT * FROM pms_liquidations WHERE exchange_account_id = ? AND sub_account_id = ?"
            " ORDER BY started_at DESC, id DESC LIMIT ?"
        )
        rows = await self._store.fetch(sql, self._ours, sub_account_id, limit)
        return [read_liquidation(row) for row in rows]

    async def fundings(self, since_ms: int) -> Sequence[FundingLine]:
        """Return the funding moments since a time, oldest first: exchange, accounts, and the residue."""
        return await read_residues(self._store, self._ours, since_ms)

    async def trade_time_ms(self, symbol: Symbol, trade_id: TradeId) -> int:
        """Return when the last execution up to a trade id was made, Unix ms; 0 when there is none."""
        sql = (
            "SELECT trade_time FROM pms_fills WHERE exchange_account_id = ? AND symbol = ? AND trade_id > 0"
            " AND trade_id <= ? ORDER BY trade_id DESC LIMIT 1"
        )
        rows = await self._store.fetch(sql, self._ours, symbol, trade_id)
        return Reader("pms_fills", rows[0]).number("trade_time") if rows else 0

    async def history(self, sub_account_id: SubAccountId, filter: HistoryFilter) -> HistoryPage:
        """Return a page of executions, newest first, with the positions they belong to."""
        where, values = self._history_where(sub_account_id, filter)
        sql = f"SELECT count(*) AS n FROM trade_executions WHERE {where}"  # noqa: S608 -- constants
        counted = await self._store.fetch(sql, *values)
        sql = f"SELECT * FROM trade_executions WHERE {where}"  # noqa: S608 -- constants
        sql += " ORDER BY timestamp DESC, id DESC LIMIT ? OFFSET ?"
        rows = await self._store.fetch(sql, *values, filter.limit, filter.offset)
        trades = tuple(read_trade(row) for row in rows)
        wanted = list(dict.fromkeys(trade.position_id for trade in trades if trade.position_id is not None))
        return HistoryPage(trades, await self._positions(wanted), int(str(counted[0]["n"])))

    def _history_where(
        self, sub_account_id: SubAccountId, filter: HistoryFilter
    ) -> tuple[str, list[DatabaseValue]]:
        parts: list[tuple[str, DatabaseValue]] = [("sub_account_id = ?", sub_account_id)]
        if filter.symbol is not None:
            parts.append(("symbol = ?", filter.symbol))
        if filter.action is not None:
            parts.append(("action = ?", filter.action))
        if filter.since_ms is not None:
            parts.append(("timestamp >= ?", self._time(filter.since_ms)))
        if filter.until_ms is not None:
            parts.append(("timestamp < ?", self._time(filter.until_ms)))
        if filter.filled_only:
            parts.append(("status = ?", "FILLED"))
        return " AND ".join(text for text, _ in parts), [value for _, value in parts]

    async def balance_logs(self, sub_account_id: SubAccountId, limit: int) -> Sequence[BalanceLogRow]:
        """Return the newest rows, newest first."""
        order = "rowid DESC" if self._store.dialect == "sqlite" else "ctid DESC"
        sql = "SELECT * FROM balance_logs WHERE sub_account_id = ?"
        sql += f" ORDER BY timestamp DESC, {order} LIMIT ?"
        return [_balance_log(row) for row in await self._store.fetch(sql, sub_account_id, limit)]

    async def all_trades(self, sub_account_id: SubAccountId) -> Sequence[ClosingTrade]:
        """Return what statistics need of every execution of an account, oldest first."""
        sql = (
            "SELECT timestamp, action, realized_pnl, fee FROM trade_executions"
            " WHERE sub_account_id = ? ORDER BY timestamp, id"
        )
        result = []
        for row in await self._store.fetch(sql, sub_account_id):
            reader = Reader("trade_executions", row)
            pnl = reader.exact_or_none("realized_pnl")
            realized = None if pnl is None else Money(pnl)
            fee = Money(reader.exact("fee"))
            result.append(ClosingTrade(reader.number("timestamp"), reader.text("action"), realized, fee))
        return result

    async def orders_since(self, since_ms: int) -> Sequence[tuple[SubAccountId, int]]:
        """Return (account, time) of every order of sub-accounts journaled since a time, oldest first."""
        sql = (
            "SELECT sub_account_id, created_at FROM pms_order_journal WHERE exchange_account_id = ?"
            " AND sub_account_id IS NOT NULL AND created_at >= ? ORDER BY created_at"
        )
        since = encode(Kind.TIME, since_ms, sqlite=self._store.dialect == "sqlite")
        rows = await self._store.fetch(sql, self._ours, since)
        readers = [Reader("pms_order_journal", row) for row in rows]
        return [(SubAccountId(one.text("sub_account_id")), one.number("created_at")) for one in readers]

    async def rule_sets(self, scope: SubAccountId | None, limit: int) -> Sequence[RuleSet]:
        """Return the versions of a scope's further rules, newest first."""
        sql = (
            "SELECT * FROM pms_rule_sets WHERE exchange_account_id = ? AND scope = ?"
            " ORDER BY version DESC LIMIT ?"
        )
        rows = await self._store.fetch(sql, self._ours, scope or GLOBAL_SCOPE, limit)
        return [read_rule_set(row) for row in rows]

    async def breaches_since(self, since_ms: int) -> Sequence[tuple[SubAccountId, BreachRow]]:
        """Return (account, broken rule) since a time, oldest first."""
        sql = "SELECT * FROM pms_rule_breaches WHERE exchange_account_id = ? AND timestamp >= ?"
        sql += " ORDER BY timestamp"
        since = encode(Kind.TIME, since_ms, sqlite=self._store.dialect == "sqlite")
        rows = await self._store.fetch(sql, self._ours, since)
        return [(SubAccountId(str(row["sub_account_id"])), _breach(row)) for row in rows]

    async def breaches(self, sub_account_id: SubAccountId, limit: int) -> Sequence[BreachRow]:
        """Return the broken rules of an account with their evidence, newest first."""
        sql = (
            "SELECT * FROM pms_rule_breaches WHERE exchange_account_id = ? AND sub_account_id = ?"
            " ORDER BY timestamp DESC, id DESC LIMIT ?"
        )
        rows = await self._store.fetch(sql, self._ours, sub_account_id, limit)
        return [_breach(row) for row in rows]

    async def actions(self, limit: int, target: str | None = None) -> Sequence[ActionRow]:
        """Return the audit trail, newest first."""
        where, values = "exchange_account_id = ?", [self._ours]
        if target is not None:
            where += " AND target = ?"
            values.append(ExchangeAccountId(target))
        sql = f"SELECT * FROM pms_actions WHERE {where}"  # noqa: S608 -- constants
        sql += " ORDER BY timestamp DESC, id DESC LIMIT ?"
        return [_action(row) for row in await self._store.fetch(sql, *values, limit)]

    async def events_after(self, sub_account_id: SubAccountId, sequence: int) -> Sequence[DurableEvent]:
        """Return an account's durable events after a sequence, oldest first, at most EVENTS_PAGE_MAX."""
        sql = (
            "SELECT * FROM pms_outbox WHERE exchange_account_id = ? AND sub_account_id = ? AND sequence > ?"
            " ORDER BY sequence LIMIT ?"
        )
        rows = await self._store.fetch(sql, self._ours, sub_account_id, sequence, EVENTS_PAGE_MAX)
        return [read_event(row) for row in rows]

    # --- idempotency keys -----------------------------------------------------------------------------------
    async def begin_idempotent(self, key: str, fingerprint: str, now_ms: int) -> StoredResult | None:
        """Reserve a key. None: reserved now; else what is stored for it. Older than 24 h does not count."""
        now = self._time(now_ms)
        forget = (
            "DELETE FROM pms_idempotency_keys WHERE exchange_account_id = ? AND scope = ? AND created_at < ?"
        )
        reserve = (
            "INSERT INTO pms_idempotency_keys"
            " (exchange_account_id, scope, key, request_hash, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?)"
        )
        try:
            await self._store.write(
                [
                    (forget, (self._ours, _SCOPE, self._time(now_ms - IDEMPOTENCY_KEPT_MS))),
                    (reserve, (self._ours, _SCOPE, key, fingerprint, now, now)),
                ]
            )
        except DuplicateKeyError:
            sql = "SELECT * FROM pms_idempotency_keys WHERE exchange_account_id = ? AND scope = ? AND key = ?"
            rows = await self._store.fetch(sql, self._ours, _SCOPE, key)
            if rows:
                reader = Reader("pms_idempotency_keys", rows[0])
                status = None if rows[0]["status"] is None else reader.number("status")
                return StoredResult(
                    reader.text("request_hash"), status, reader.text_or_none("response") or ""
                )
            return StoredResult(fingerprint, None, "")
        return None

    async def finish_idempotent(self, key: str, status: int, body: str) -> None:
        sql = (
            "UPDATE pms_idempotency_keys SET status = ?, response = ?, updated_at = ?"
            " WHERE exchange_account_id = ? AND scope = ? AND key = ?"
        )
        now = self._time(self._clock.now_ms())
        await self._store.write([(sql, (status, body, now, self._ours, _SCOPE, key))])

    async def forget_idempotent(self, key: str) -> None:
        sql = "DELETE FROM pms_idempotency_keys WHERE exchange_account_id = ? AND scope = ? AND key = ?"
        await self._store.write([(sql, (self._ours, _SCOPE, key))])

    # --- parts ----------------------------------------------------------------------------------------------
    async def _positions(self, ids: Sequence[PositionId]) -> dict[PositionId, PositionRef]:
        result: dict[PositionId, PositionRef] = {}
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            sql = f"SELECT * FROM virtual_positions WHERE id IN ({', '.join('?' * len(part))})"  # noqa: S608
            for row in await self._store.fetch(sql, *part):
                reader = Reader("virtual_positions", row)
                position_id = PositionId(reader.text("id"))
                result[position_id] = PositionRef(
                    position_id,
                    SubAccountId(reader.text("sub_account_id")),
                    Symbol(reader.text("symbol")),
                    PositionSide(reader.text("side")),
                    Price(reader.exact("entry_price")),
                    PositionStatus(reader.text("status")),
                )
        return result

    def _time(self, moment_ms: int) -> DatabaseValue:
        return encode(Kind.TIME, moment_ms, sqlite=self._store.dialect == "sqlite")


def read_trade(row: Row) -> TradeRow:
    """Return an execution from its `trade_executions` row."""
    reader = Reader("trade_executions", row)
    position = reader.text_or_none("position_id")
    exchange_id = reader.text_or_none("exchange_order_id")
    client_id = reader.text_or_none("client_order_id")
    pnl: Decimal | None = reader.exact_or_none("realized_pnl")
    side = reader.text("side")
    return TradeRow(
        id=TradeExecutionId(reader.text("id")),
        sub_account_id=SubAccountId(reader.text("sub_account_id")),
        position_id=None if position is None else PositionId(position),
        exchange_order_id=None if exchange_id is None else ExchangeOrderId(exchange_id),
        client_order_id=None if client_id is None else ClientOrderId(client_id),
        symbol=Symbol(reader.text("symbol")),
        side=OrderSide(side),
        type=OrderType.LIMIT if "LIMIT" in reader.text("type") else OrderType.MARKET,
        price=Price(reader.exact("price")),
        quantity=Quantity(reader.exact("quantity")),
        notional=Money(reader.exact("notional")),
        fee=Money(reader.exact("fee")),
        realized_pnl=None if pnl is None else Money(pnl),
        action=reader.text("action"),
        origin_type=reader.text("origin_type"),
        status=reader.text("status"),
        signature=reader.text("signature"),
        timestamp_ms=reader.number("timestamp"),
    )


def _balance_log(row: Row) -> BalanceLogRow:
    reader = Reader("balance_logs", row)
    trade = reader.text_or_none("trade_id")
    return BalanceLogRow(
        id=BalanceLogId(reader.text("id")),
        sub_account_id=SubAccountId(reader.text("sub_account_id")),
        balance_before=Money(reader.exact("balance_before")),
        balance_after=Money(reader.exact("balance_after")),
        change_amount=Money(reader.exact("change_amount")),
        reason=reader.text("reason"),
        trade_id=None if trade is None else TradeExecutionId(trade),
        timestamp_ms=reader.number("timestamp"),
    )


def _breach(row: Row) -> BreachRow:
    reader = Reader("pms_rule_breaches", row)
    return BreachRow(
        reader.text("rule"),
        reader.text("action"),
        reader.number("rules_version"),
        reader.text("evidence"),
        reader.number("timestamp"),
    )


def _action(row: Row) -> ActionRow:
    reader = Reader("pms_actions", row)
    return ActionRow(
        reader.text("id"),
        reader.text("actor"),
        reader.text("via"),
        reader.text("action"),
        reader.text_or_none("target"),
        reader.text_or_none("before"),
        reader.text_or_none("after"),
        reader.number("timestamp"),
    )


def read_event(row: Row) -> DurableEvent:
    """Return a durable event from its outbox row."""
    import orjson  # late: only a resuming reader needs it

    reader = Reader("pms_outbox", row)
    return DurableEvent(
        reader.text("type"),
        SubAccountId(reader.text("sub_account_id")),
        reader.number("sequence"),
        orjson.loads(reader.text("data")),
        reader.number("timestamp"),
    )


def _resting(row: Row) -> RestingRow:
    reader = Reader("pending_orders", row)
    return RestingRow(
        id=PendingOrderId(reader.text("id")),
        sub_account_id=SubAccountId(reader.text("sub_account_id")),
        symbol=Symbol(reader.text("symbol")),
        side=PositionSide(reader.text("side")),
        type=reader.text("type"),
        price=Price(reader.exact("price")),
        quantity=Quantity(reader.exact("quantity")),
        leverage=reader.exact("leverage"),
        exchange_order_id=ExchangeOrderId(reader.text("exchange_order_id")),
        created_at_ms=reader.number("created_at"),
    )
