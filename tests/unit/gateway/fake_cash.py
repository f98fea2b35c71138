"""What a fake trading service does with cash and takeovers, on the fake ledger's rows."""

from abc import ABC, abstractmethod
from decimal import Decimal
from typing import Any

from pms.execution.api import Executed
from pms.ledger.api import Actor
from pms.model.account import SubAccount
from pms.model.ids import PositionId, SubAccountId
from pms.model.money import Money
from pms.model.refusal import RefusalCode, Refused


class FakeCash(ABC):
    """Moves figures; only what is more than the cash, and what is open, is refused."""

    ledger: Any

    @abstractmethod
    async def close(
        self, position_id: PositionId, actor: Actor, idempotency_key: str | None = None
    ) -> Executed | Refused:
        """Given by the fake that this is a part of."""

    async def _move(self, account: SubAccountId, change: Decimal, actor: Actor) -> SubAccount:
        moved: SubAccount = await self.ledger.deposit(account, Money(change), actor)
        return moved

    async def withdraw(self, account: SubAccountId, amount: Money, actor: Actor) -> SubAccount | Refused:
        if amount > self.ledger.rows[account].cash:
            return Refused.because(RefusalCode.INSUFFICIENT_BALANCE)
        return await self._move(account, -amount, actor)

    async def transfer(
        self, from_id: SubAccountId, to_id: SubAccountId, amount: Money, actor: Actor
    ) -> tuple[SubAccount, SubAccount] | Refused:
        given = await self.withdraw(from_id, amount, actor)
        return (
            given if isinstance(given, Refused) else (given, await self.ledger.deposit(to_id, amount, actor))
        )

    async def set_balance(
        self, sub_account_id: SubAccountId, balance: Money, actor: Actor
    ) -> SubAccount | Refused:
        change = Money(balance - self.ledger.rows[sub_account_id].balance)
        return await self._move(sub_account_id, change, actor)

    async def reset_account(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount | Refused:
        if any(position.sub_account_id == sub_account_id for position in self.ledger.open.values()):
            return Refused.because(RefusalCode.EXPOSURE_OPEN)
        return await self.set_balance(sub_account_id, Money(Decimal(0)), actor)

    close_account = reset_account

    async def take_over(self, position_id: PositionId, by: Actor) -> Executed | Refused:
        return await self.close(position_id, by)
