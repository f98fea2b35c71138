"""The closes of a fake trading service that are made of its single close."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal

from pms.execution.api import ClosedByPrice, Executed
from pms.ledger.api import Actor
from pms.model.ids import PositionId
from pms.model.refusal import Refused


class FakeClosing(ABC):
    """Closes whole positions, whatever part was asked for."""

    @abstractmethod
    async def close(
        self, position_id: PositionId, actor: Actor, idempotency_key: str | None = None
    ) -> Executed | Refused:
        """Given by the fake that this is a part of."""

    async def close_partly(
        self, position_id: PositionId, fraction: Decimal, actor: Actor, idempotency_key: str | None = None
    ) -> Executed | Refused:
        return await self.close(position_id, actor, idempotency_key)

    async def close_by_price(
        self,
        position_id: PositionId,
        close_price: Decimal | None,
        reason: str,
        actor: Actor,
        idempotency_key: str | None = None,
    ) -> ClosedByPrice | Refused:
        closed = await self.close(position_id, actor, idempotency_key)
        if isinstance(closed, Refused):
            return closed
        return ClosedByPrice(closed, closed.trades[-1].price, "exchange")

    async def close_many(
        self, position_ids: Sequence[PositionId], actor: Actor, idempotency_key: str | None = None
    ) -> Mapping[PositionId, Executed | Refused]:
        return {one: await self.close(one, actor, idempotency_key) for one in position_ids}
