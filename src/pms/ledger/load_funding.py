"""Reads up to when each symbol's funding is booked, and the watermarks."""

from pms.ledger.book import Book
from pms.ledger.store import Store
from pms.model.ids import ExchangeAccountId
from pms.model.symbol import Symbol


async def load_funding(store: Store, ours: ExchangeAccountId, book: Book) -> None:
    """Fill in the book what funding and income need."""
    sql = (
        "SELECT symbol, max(funding_time) AS last FROM pms_funding_events"
        " WHERE exchange_account_id = ? GROUP BY symbol"
    )
    for row in await store.fetch(sql, ours):
        book.funding_times.set(Symbol(str(row["symbol"])), int(str(row["last"])))
    sql = "SELECT name, moment_ms FROM pms_watermarks WHERE exchange_account_id = ?"
    for row in await store.fetch(sql, ours):
        book.watermarks.set(str(row["name"]), int(str(row["moment_ms"])))
