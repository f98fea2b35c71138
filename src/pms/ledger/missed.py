"""What a book read again knows that nobody was told: the difference, as one commit for those who listen.

A COMMIT whose outcome stayed unknown, and a foreign write, show only when the book is read again. Whoever
follows commits (reservations, holdings, risk) would otherwise stay behind the ledger for good.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from pms.ledger.api import Committed, TradeRow
from pms.ledger.book import Book, Overlay
from pms.ledger.load import read_order
from pms.ledger.pools import Pool
from pms.ledger.queries import read_event, read_trade
from pms.ledger.store import Store
from pms.model.account import Position, PositionStatus, SubAccount
from pms.model.event import DurableEvent
from pms.model.ids import ExchangeAccountId
from pms.model.order import JournalOrder
from pms.model.restriction import RestrictionEntry
from pms.model.symbol import Symbol

_K = TypeVar("_K")
_V = TypeVar("_V")


async def missed_changes(store: Store, ours: ExchangeAccountId, before: Book, after: Book) -> Committed:
    """Return everything that differs between two bottom layers of the book, in the form of a commit."""
    accounts = {record.account.id: record.account for record in _changed(before.accounts, after.accounts)}
    accounts |= {account.id: account for account in _governed_anew(before, after)}
    symbols = {
        *before.virtual_net.flat(),
        *after.virtual_net.flat(),
        *before.house.flat(),
        *after.house.flat(),
    }
    nets = {symbol: after.expected_net(symbol) for symbol in sorted(symbols) if _moved(before, after, symbol)}
    return Committed(
        accounts=tuple(accounts.values()),
        positions=await _positions(store, ours, before, after),
        orders=await _orders(store, ours, before, after),
        trades=await _trades(store, ours, before, after),
        house=tuple(_changed(before.house, after.house)),
        expected_net=nets,
        events=await _events(store, ours, before, after),
        restrictions=_restrictions(before, after),
        rule_sets=tuple(_changed(before.rule_sets, after.rule_sets)),
        equity_marks=tuple(_changed(before.equity_marks, after.equity_marks)),
        pools=(*_passed_on(before, after), *_changed(before.pools, after.pools)),
    )


def _changed(before: Overlay[_K, _V], after: Overlay[_K, _V]) -> Iterator[_V]:
    return (value for key, value in after.flat().items() if value is not None and before.get(key) != value)


def _passed_on(before: Book, after: Book) -> Iterator[Pool]:
    """Yield the pools that are done by now; nothing is left of them."""
    for pool in before.pools.values():
        if after.pools.get(pool.client_order_id) is None:
            yield replace(pool, ended=True, allocated=pool.booked)


def _governed_anew(before: Book, after: Book) -> Iterator[SubAccount]:
    """Return the accounts whose limits and thresholds have changed: who follows accounts keeps those too."""
    scopes = {*before.rules.flat(), *after.rules.flat()}
    changed = {scope for scope in scopes if before.rules.get(scope) != after.rules.get(scope)}
    for record in after.accounts.values() if changed else ():
        own = after.rules.get(record.account.id) is not None
        if record.account.id in changed or (None in changed and not own):
            yield record.account


def _restrictions(before: Book, after: Book) -> tuple[RestrictionEntry, ...]:
    changed: list[RestrictionEntry] = []
    for scope, entries in after.restrictions.flat().items():
        known = before.restrictions.get(scope) or ()
        changed += [entry for entry in entries or () if entry not in known]
    return tuple(changed)


def _moved(before: Book, after: Book, symbol: Symbol) -> bool:
    was, now = before.house_position(symbol), after.house_position(symbol)
    return was != now or (before.virtual_net.get(symbol) or 0) != (after.virtual_net.get(symbol) or 0)


async def _positions(
    store: Store, ours: ExchangeAccountId, before: Book, after: Book
) -> tuple[Position, ...]:
    closed: list[Position] = []
    sql = "SELECT status, revision FROM pms_position_exact WHERE exchange_account_id = ? AND position_id = ?"
    for position in before.positions.values():
        if after.positions.get(position.id) is None:
            rows = await store.fetch(sql, ours, position.id)
            status = PositionStatus(str(rows[0]["status"])) if rows else PositionStatus.CLOSED
            closed.append(replace(position, status=status))
    return (*closed, *_changed(before.positions, after.positions))


async def _orders(
    store: Store, ours: ExchangeAccountId, before: Book, after: Book
) -> tuple[JournalOrder, ...]:
    ended: list[JournalOrder] = []
    sql = "SELECT * FROM pms_order_journal WHERE exchange_account_id = ? AND client_order_id = ?"
    for record in before.orders.values():
        if after.orders.get(record.order.client_order_id) is None:
            rows = await store.fetch(sql, ours, record.order.client_order_id)
            ended += [read_order(row).order for row in rows]
    return (*ended, *(record.order for record in _changed(before.orders, after.orders)))


async def _trades(store: Store, ours: ExchangeAccountId, before: Book, after: Book) -> tuple[TradeRow, ...]:
    sql = (
        "SELECT t.* FROM pms_fill_allocations f JOIN trade_executions t ON t.id = f.trade_execution_id"
        " WHERE f.exchange_account_id = ? AND f.link > ? AND f.link <= ?"
        " ORDER BY f.link, f.fill_id, f.number"
    )
    return tuple(read_trade(row) for row in await store.fetch(sql, ours, before.link, after.link))


async def _events(
    store: Store, ours: ExchangeAccountId, before: Book, after: Book
) -> tuple[DurableEvent, ...]:
    found: list[DurableEvent] = []
    sql = (
        "SELECT * FROM pms_outbox WHERE exchange_account_id = ? AND sub_account_id = ? AND sequence > ?"
        " ORDER BY sequence"
    )
    for account_id, sequence in after.event_sequence.flat().items():
        heard = before.event_sequence.get(account_id) or 0
        if (sequence or 0) > heard:
            found += [read_event(row) for row in await store.fetch(sql, ours, account_id, heard)]
    return tuple(found)
