"""Reads what control keeps in the database: the restrictions, in force and released."""

from pms.ledger.book import Book
from pms.ledger.operations.control import GLOBAL_SCOPE
from pms.ledger.reader import Reader
from pms.ledger.store import Store
from pms.model.ids import ExchangeAccountId, SubAccountId
from pms.model.restriction import Restriction, RestrictionEntry


async def load_control(store: Store, ours: ExchangeAccountId, book: Book) -> None:
    """Fill the book's part of control."""
    await _load_restrictions(store, ours, book)


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


def _scope(text: str) -> SubAccountId | None:
    return None if text == GLOBAL_SCOPE else SubAccountId(text)
