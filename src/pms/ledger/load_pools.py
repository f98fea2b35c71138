"""Reads the pooled closes that are not wholly passed on."""

from pms.ledger.book import Book
from pms.ledger.pools import Pool, PoolFill, PoolShare
from pms.ledger.reader import Reader
from pms.ledger.rendering import time_ms
from pms.ledger.store import Store
from pms.model.ids import ClientOrderId, ExchangeAccountId, ExchangeOrderId, PositionId, SubAccountId
from pms.model.money import Price
from pms.model.order import OrderSide, OrderState
from pms.model.symbol import Symbol

_SHARES = (
    "SELECT * FROM pms_pool_shares WHERE exchange_account_id = ? AND client_order_id IN (SELECT"
    " client_order_id FROM pms_pools WHERE exchange_account_id = ? AND state = 'OPEN')"
    " ORDER BY client_order_id, number"
)
_FILLS = (
    "SELECT p.*, f.trade_time FROM pms_pool_fills p JOIN pms_fills f"
    " ON f.exchange_account_id = p.exchange_account_id AND f.id = p.fill_id"
    " WHERE p.exchange_account_id = ? AND p.client_order_id IN (SELECT"
    " client_order_id FROM pms_pools WHERE exchange_account_id = ? AND state = 'OPEN')"
    " ORDER BY p.client_order_id, p.number"
)


async def load_pools(store: Store, ours: ExchangeAccountId, book: Book) -> None:
    """Put every pool that is not done into a book."""
    shares: dict[str, list[PoolShare]] = {}
    for row in await store.fetch(_SHARES, ours, ours):
        reader = Reader("pms_pool_shares", row)
        account = SubAccountId(reader.text("sub_account_id"))
        share = PoolShare(PositionId(reader.text("position_id")), account, reader.exact("quantity"))
        shares.setdefault(reader.text("client_order_id"), []).append(share)
    fills: dict[str, list[PoolFill]] = {}
    for row in await store.fetch(_FILLS, ours, ours):
        reader = Reader("pms_pool_fills", row)
        order_id, price = ExchangeOrderId(reader.text("exchange_order_id")), Price(reader.exact("price"))
        quantity, fee = reader.exact("quantity"), reader.exact("fee")
        fill = PoolFill(order_id, price, quantity, fee, time_ms(row["trade_time"]))
        fills.setdefault(reader.text("client_order_id"), []).append(fill)
    sql = (
        "SELECT p.*, o.symbol, o.side, o.action, o.state AS order_state"
        " FROM pms_pools p JOIN pms_order_journal o ON o.exchange_account_id = p.exchange_account_id"
        " AND o.client_order_id = p.client_order_id WHERE p.exchange_account_id = ? AND p.state = 'OPEN'"
    )
    for row in await store.fetch(sql, ours):
        reader = Reader("pms_pools", row)
        client_id = reader.text("client_order_id")
        pool = Pool(
            client_order_id=ClientOrderId(client_id),
            symbol=Symbol(str(row["symbol"])),
            side=OrderSide(str(row["side"])),
            action=str(row["action"]),
            shares=tuple(shares.get(client_id, ())),
            fills=tuple(fills.get(client_id, ())),
            allocated=reader.exact("allocated"),
            ended=OrderState(str(row["order_state"])).terminal,
            revision=reader.number("revision"),
        )
        book.pools.set(pool.client_order_id, pool)
