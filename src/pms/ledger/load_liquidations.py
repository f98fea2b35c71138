"""Reads the record of liquidations: rows, and what ran when the engine stopped."""

from pms.ledger.book import Book
from pms.ledger.reader import Reader
from pms.ledger.rendering import Row
from pms.ledger.store import Store
from pms.model.ids import ExchangeAccountId, SubAccountId
from pms.model.liquidation import LiquidationRecord, LiquidationState


def read_liquidation(row: Row) -> LiquidationRecord:
    """Return a liquidation from its row."""
    reader = Reader("pms_liquidations", row)
    return LiquidationRecord(
        id=reader.text("id"),
        sub_account_id=SubAccountId(reader.text("sub_account_id")),
        label=reader.text("label"),
        margin_ratio=reader.exact("margin_ratio"),
        state=LiquidationState(reader.text("state")),
        evidence=reader.text("evidence"),
        started_at_ms=reader.number("started_at"),
        ended_at_ms=None if row["ended_at"] is None else reader.number("ended_at"),
    )


async def load_liquidations(store: Store, ours: ExchangeAccountId, book: Book) -> None:
    """Fill the book with the liquidations that are RUNNING."""
    sql = "SELECT * FROM pms_liquidations WHERE exchange_account_id = ? AND state = 'RUNNING'"
    for row in await store.fetch(sql, ours):
        record = read_liquidation(row)
        book.liquidations.set(record.sub_account_id, record)
