"""The fake's idempotency keys, and the journal that answers for a request of an earlier life."""

import asyncio
from collections.abc import Sequence

from pms.gateway.ports import StoredResult
from pms.ledger.api import TradeRow
from pms.model.order import JournalOrder


class FakeKeys:
    def __init__(self) -> None:
        self.keys: dict[str, StoredResult] = {}
        self.journal: list[JournalOrder] = []
        self.trades: list[TradeRow] = []

    async def orders_with_key(self, idempotency_key: str) -> Sequence[JournalOrder]:
        return [order for order in self.journal if order.idempotency_key == idempotency_key]

    async def trades_of(self, orders: Sequence[JournalOrder]) -> Sequence[TradeRow]:
        ids = {order.exchange_order_id for order in orders}
        return [row for row in self.trades if row.exchange_order_id in ids]

    async def begin_idempotent(self, key: str, fingerprint: str, now_ms: int) -> StoredResult | None:
        await asyncio.sleep(0)
        known = self.keys.get(key)
        if known is None:
            self.keys[key] = StoredResult(fingerprint, None, "")
        return known

    async def finish_idempotent(self, key: str, status: int, body: str) -> None:
        self.keys[key] = StoredResult(self.keys[key].fingerprint, status, body)

    async def forget_idempotent(self, key: str) -> None:
        del self.keys[key]
