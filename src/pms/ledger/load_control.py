"""Reads what control keeps in the database: restrictions, rules, equity marks, leverage."""

import orjson

from pms.ledger.book import Book
from pms.ledger.operations.control import GLOBAL_SCOPE
from pms.ledger.reader import Reader
from pms.ledger.rendering import Row
from pms.ledger.store import Store
from pms.model.ids import ExchangeAccountId, SubAccountId
from pms.model.restriction import Restriction, RestrictionEntry
from pms.model.symbol import Symbol
from pms.model.trading_rules import EquityMark, RuleSet, rules_from_json


async def load_control(store: Store, ours: ExchangeAccountId, book: Book) -> None:
    """Fill the book's part of control."""
    await _load_restrictions(store, ours, book)
    await _load_rules(store, ours, book)
    await _load_leverage(store, ours, book)


async def _load_restrictions(store: Store, ours: ExchangeAccountId, book: Book) -> None:
    sql = "SELECT * FROM pms_restrictions WHERE exchange_account_id = ? ORDER BY scope, updated_at, source"
    for row in await store.fetch(sql, ours):
        reader = Reader("pms_restrictions", row)
        scope = _scope(reader.text("scope"))
        entry = RestrictionEntry(
            sub_account_id=scope,
            source=reader.text("source"),
            level=Restriction[reader.text("level")],
            reason=reader.text("reason"),
            actor=reader.text("actor"),
            since_ms=reader.number("updated_at"),
        )
        book.restrictions.set(scope, (*(book.restrictions.get(scope) or ()), entry))


async def _load_rules(store: Store, ours: ExchangeAccountId, book: Book) -> None:
    sql = "SELECT * FROM pms_rule_sets WHERE exchange_account_id = ? ORDER BY version"
    for row in await store.fetch(sql, ours):
        found = read_rule_set(row)
        book.rule_sets.set(found.sub_account_id, found)
    for row in await store.fetch("SELECT * FROM pms_equity_marks WHERE exchange_account_id = ?", ours):
        reader = Reader("pms_equity_marks", row)
        owner = SubAccountId(reader.text("sub_account_id"))
        start, peak = reader.exact("day_start_equity"), reader.exact("peak_equity")
        book.equity_marks.set(owner, EquityMark(owner, reader.text("day"), start, peak))


async def _load_leverage(store: Store, ours: ExchangeAccountId, book: Book) -> None:
    for row in await store.fetch("SELECT * FROM pms_virtual_leverage WHERE exchange_account_id = ?", ours):
        reader = Reader("pms_virtual_leverage", row)
        key = (SubAccountId(reader.text("sub_account_id")), Symbol(reader.text("symbol")))
        book.virtual_leverage.set(key, reader.exact("leverage"))


def read_rule_set(row: Row) -> RuleSet:
    """Return one version of rules from its row."""
    reader = Reader("pms_rule_sets", row)
    return RuleSet(
        _scope(reader.text("scope")),
        reader.number("version"),
        rules_from_json(orjson.loads(reader.text("rules"))),
        reader.text("actor"),
        reader.number("timestamp"),
    )


def _scope(text: str) -> SubAccountId | None:
    return None if text == GLOBAL_SCOPE else SubAccountId(text)
