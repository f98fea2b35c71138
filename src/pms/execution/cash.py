"""Cash that leaves an account that may trade: held first, so that nothing admitted meanwhile counts on it.

Withdrawals, transfers between accounts, balances set by hand, reset and closing: what positions and orders
need stays (decision 18, docs/decisions/0024), and the amount is reserved in one turn of the account's queue.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pms.execution.admission import Admission
from pms.execution.live_orders import LiveOrders
from pms.execution.queues import AccountQueues
from pms.ledger.api import Actor, Ledger
from pms.ledger.errors import CommitUnknownError
from pms.model.account import SubAccount
from pms.model.ids import SubAccountId
from pms.model.money import ZERO, Money
from pms.model.order import Priority
from pms.model.refusal import RefusalCode, Refused

_T = TypeVar("_T")


class CashDesk:
    """Moves cash out of accounts. Event-loop thread only."""

    def __init__(
        self,
        ledger: Ledger,
        admission: Admission,
        queues: AccountQueues,
        live_orders: LiveOrders,
    ) -> None:
        self._ledger = ledger
        self._admission = admission
        self._queues = queues
        self._live = live_orders

    async def withdraw(
        self, sub_account_id: SubAccountId, amount: Money, actor: Actor
    ) -> SubAccount | Refused:
        """Move money from an account to the house."""
        return await self._leaving(
            sub_account_id, amount, lambda: self._ledger.withdraw(sub_account_id, amount, actor)
        )

    async def transfer(
        self, from_id: SubAccountId, to_id: SubAccountId, amount: Money, actor: Actor
    ) -> tuple[SubAccount, SubAccount] | Refused:
        """Move money from one account to another; return both."""
        return await self._leaving(
            from_id, amount, lambda: self._ledger.transfer_between(from_id, to_id, amount, actor)
        )

    async def set_balance(
        self, sub_account_id: SubAccountId, balance: Money, actor: Actor
    ) -> SubAccount | Refused:
        """Bring an account's balance to a figure. A balance that moved meanwhile so that more would leave is
        refused: look again."""
        account = self._ledger.account(sub_account_id)
        if account is None:
            return Refused.because(RefusalCode.ACCOUNT_NOT_FOUND)
        leaving = Money(max(ZERO, account.cash - balance))

        def act() -> Awaitable[SubAccount]:
            return self._ledger.set_balance(sub_account_id, balance, actor, debit_max=leaving)

        return await self._leaving(sub_account_id, leaving, act) if leaving else await act()

    async def reset(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount | Refused:
        """Start an account anew; refused while anything of it is open (spec H14)."""
        return await self._emptied(sub_account_id, lambda: self._ledger.reset_account(sub_account_id, actor))

    async def close_account(self, sub_account_id: SubAccountId, actor: Actor) -> SubAccount | Refused:
        """Close an account for good; refused while anything of it is open."""
        return await self._emptied(sub_account_id, lambda: self._ledger.close_account(sub_account_id, actor))

    async def _emptied(
        self, account_id: SubAccountId, act: Callable[[], Awaitable[SubAccount]]
    ) -> SubAccount | Refused:
        account = self._ledger.account(account_id)
        if account is None:
            return Refused.because(RefusalCode.ACCOUNT_NOT_FOUND)
        # The ledger knows positions and journaled orders; here is what was admitted a moment ago.
        held = any(position.sub_account_id == account_id for position in self._ledger.open_positions())
        if held or any(True for _ in self._live.of_account(account_id)):
            return Refused.because(RefusalCode.EXPOSURE_OPEN)
        cash = Money(max(ZERO, account.cash))
        return await self._leaving(account_id, cash, act) if cash else await act()

    async def _leaving(
        self, account_id: SubAccountId, amount: Money, act: Callable[[], Awaitable[_T]]
    ) -> _T | Refused:
        try:
            refused = await self._queues.run(
                account_id,
                Priority.ENTRY,
                lambda: self._admission.begin_withdrawal(account_id, amount),
                lambda refused: None if refused else self._admission.end_withdrawal(account_id, amount),
            )
        except asyncio.QueueFull:
            return Refused.because(
                RefusalCode.BOUND_REACHED, "Too many requests wait for this account; retry in a moment."
            )
        if refused is not None:
            return refused
        in_doubt = False
        try:
            return await act()
        except CommitUnknownError:
            in_doubt = True  # it may have left: nothing may count on it before the ledger has looked
            raise
        finally:
            if in_doubt:
                self._admission.keep_until_known(lambda: self._admission.end_withdrawal(account_id, amount))
            else:
                self._admission.end_withdrawal(account_id, amount)
