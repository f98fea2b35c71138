"""The part of the ledger service that moves positions and cash inside the system; see `pms.ledger.api`."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from pms.ledger.api import Actor, Committed, HouseLineKind
from pms.ledger.operations import accounts, balances, house, transfers
from pms.ledger.operations.transfers import movement_key
from pms.ledger.plan import Plan
from pms.ledger.writer import Known, Wants, Writer
from pms.model.account import SubAccount
from pms.model.ids import PositionId, SubAccountId
from pms.model.money import Money, Price
from pms.model.symbol import Symbol


class Movements:
    """Internal movements: none of them awaits anything but the writer's commit."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    # --- positions ------------------------------------------------------------------------------------------
    async def transfer_to_house(
        self,
        position_id: PositionId,
        quantity: Decimal,
        price: Price,
        kind: HouseLineKind,
        action: str,
        reference: str | None = None,
    ) -> Committed:
        def run(plan: Plan) -> None:
            transfers.transfer_to_house(plan, position_id, quantity, price, kind, action, reference)

        return await self._once(reference, run)

    async def take_over(
        self,
        position_id: PositionId,
        by: Actor,
        price: Price,
        quantity: Decimal | None = None,
        reference: str | None = None,
    ) -> Committed:
        return await self._once(
            reference, lambda plan: transfers.take_over(plan, position_id, by, price, quantity, reference)
        )

    async def net_internally(
        self,
        closes: Sequence[tuple[PositionId, Decimal]],
        price: Price,
        action: str,
        reference: str | None = None,
    ) -> Committed:
        return await self._once(
            reference, lambda plan: transfers.net_internally(plan, closes, price, action, reference)
        )

    async def assign_from_house(
        self,
        symbol: Symbol,
        sub_account_id: SubAccountId,
        quantity: Decimal,
        price: Price,
        leverage: Decimal,
        actor: Actor,
        reference: str | None = None,
    ) -> Committed:
        def run(plan: Plan) -> None:
            transfers.assign(plan, symbol, sub_account_id, quantity, price, leverage, actor, reference)

        return await self._once(reference, run)

    async def _once(self, reference: str | None, run: Callable[[Plan], None]) -> Committed:
        """Carry out a movement; one whose reference is booked already changes nothing and returns nothing."""

        def plan_it(plan: Plan, known: Known) -> bool:
            if reference is not None:
                key = movement_key(plan.ours, plan.book.epoch, reference)
                if plan.book.fill_keys.get(key) or key in known.fills:
                    return True
            run(plan)
            return False

        repeated, committed = await self._writer.submit(plan_it, Wants(reference=reference))
        return Committed() if repeated else committed

    # --- cash -----------------------------------------------------------------------------------------------
    async def set_balance(
        self, sub_account_id: SubAccountId, balance: Money, actor: Actor, debit_max: Decimal | None = None
    ) -> SubAccount:
        def run(plan: Plan, _: Known) -> SubAccount:
            return balances.set_balance(plan, sub_account_id, balance, actor, debit_max)

        return (await self._writer.submit(run))[0]

    async def transfer_between(
        self, from_id: SubAccountId, to_id: SubAccountId, amount: Money, actor: Actor
    ) -> tuple[SubAccount, SubAccount]:
        def run(plan: Plan, _: Known) -> tuple[SubAccount, SubAccount]:
            return balances.transfer_between(plan, from_id, to_id, amount, actor)

        return (await self._writer.submit(run))[0]

    async def reset_account(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount:
        return (await self._writer.submit(lambda plan, _: balances.reset(plan, sub_account_id, actor)))[0]

    async def close_account(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount:
        return (
            await self._writer.submit(lambda plan, _: balances.close_account(plan, sub_account_id, actor))
        )[0]

    async def write_off(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount:
        return (await self._writer.submit(lambda plan, _: accounts.write_off(plan, sub_account_id, actor)))[0]

    # --- the house's limits ---------------------------------------------------------------------------------
    async def set_house_limit(self, symbol: Symbol | None, notional_max: Money | None, actor: Actor) -> None:
        await self._writer.submit(lambda plan, _: house.set_house_limit(plan, symbol, notional_max, actor))

    def house_limits(self) -> Mapping[Symbol | None, Money]:
        return {
            symbol: Money(limit.notional_max)
            for symbol, limit in self._writer.book.house_limits.flat().items()
            if limit is not None and limit.notional_max is not None
        }

    def house_limit(self, symbol: Symbol) -> Money | None:
        limits = self.house_limits()
        return limits.get(symbol, limits.get(None))
