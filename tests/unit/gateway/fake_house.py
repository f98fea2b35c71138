"""A house that holds one symbol, for tests of its routes."""

from collections.abc import Sequence
from decimal import Decimal

from pms.execution.api import HouseAssigned, HouseClosed, HouseHolding
from pms.ledger.api import Actor
from pms.model.ids import SubAccountId
from pms.model.money import Money, Price, Quantity
from pms.model.refusal import Refused
from pms.model.symbol import Symbol


class FakeHouse:
    """Notes what it was asked for; everything succeeds."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Symbol, Actor]] = []

    def holdings(self) -> Sequence[HouseHolding]:
        symbol, zero = Symbol("BTC/USDT:USDT"), Decimal(0)
        return [HouseHolding(symbol, Decimal(1), Decimal(50_000), zero, None, None, Money(zero))]

    async def close(self, symbol: Symbol, quantity: Decimal | None, actor: Actor) -> HouseClosed | Refused:
        self.asked.append(("close", symbol, actor))
        return HouseClosed(symbol, Quantity(quantity or Decimal(1)), Decimal(0), ())

    async def assign(
        self,
        symbol: Symbol,
        sub_account_id: SubAccountId,
        quantity: Decimal,
        leverage: Decimal,
        actor: Actor,
        reference: str | None = None,
    ) -> HouseAssigned | Refused:
        self.asked.append(("assign", symbol, actor))
        return HouseAssigned(symbol, Quantity(quantity), Price(Decimal(50_000)), ())
