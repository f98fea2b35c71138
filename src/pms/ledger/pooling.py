"""The part of the ledger service that passes the fills of pooled orders on; see `pms.ledger.api`."""

from collections.abc import Sequence
from decimal import Decimal

from pms.ledger.api import Committed
from pms.ledger.operations.funding import correct_funding
from pms.ledger.operations.pools import allocate
from pms.ledger.plan import Plan
from pms.ledger.pools import Pool
from pms.ledger.writer import Known, Wants, Writer
from pms.model.ids import ClientOrderId
from pms.model.symbol import Symbol


class Pooling:
    """Pooled closes: what is open of them, and the next step of their allocation."""

    _writer: Writer

    def pools(self) -> Sequence[Pool]:
        return list(self._writer.book.pools.values())

    def passing_on(self, symbol: Symbol) -> Decimal:
        return self._writer.book.passing_on(symbol)

    async def allocate_pool(self, client_order_id: ClientOrderId, parts_max: int) -> Committed:
        def run(plan: Plan, known: Known) -> None:
            allocate(plan, client_order_id, parts_max)
            correct_funding(plan, known.later_fundings)

        return (await self._writer.submit(run, Wants(pool=client_order_id), later=True))[1]
