"""The part of the ledger's service that books funding and income, and keeps what was read of them."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from pms.ledger.api import BookedFunding
from pms.ledger.funding_reads import FundingReads, Paid
from pms.ledger.operations import funding as operations
from pms.ledger.plan import Plan
from pms.ledger.store import Store
from pms.ledger.writer import Known, Wants, Writer
from pms.model.ids import ExchangeAccountId, SubAccountId
from pms.model.income import FundingKey, FundingRate, Income
from pms.model.money import ZERO
from pms.model.symbol import Symbol


class FundingService:
    """Implements that part of `pms.ledger.api.Ledger`; see there. `LedgerService` is one."""

    exchange_account_id: ExchangeAccountId
    store: Store
    _writer: Writer
    _funding_turn: asyncio.Lock

    async def book_funding(self, funding: FundingRate) -> BookedFunding:
        async with self._funding_turn:
            return await self._book_funding(funding)

    async def _book_funding(self, funding: FundingRate) -> BookedFunding:
        # What was paid is read once: until the funding is written nobody else pays it.
        paid: Mapping[SubAccountId, Paid] | None = None

        def run(plan: Plan, known: Known) -> operations.FundingStep | None:
            if known.funding.booked is not None:
                return None
            state = known.funding if paid is None else replace(known.funding, paid=paid)
            return operations.book_funding(plan, funding, state)

        accounts, amount = 0, ZERO
        while True:
            wants = Wants(funding=funding.key, funding_begun=paid is not None)
            step, _ = await self._writer.submit(run, wants)
            if step is None:
                return BookedFunding(True, accounts, amount)
            accounts, amount = accounts + step.accounts, amount + step.amount
            if step.finished:
                return BookedFunding(False, accounts, amount)
            paid = step.paid

    async def skip_funding(self, key: FundingKey, reason: str) -> None:
        await self._writer.submit(lambda plan, _: operations.skip_funding(plan, key, reason))

    def funding_read_ms(self, symbol: Symbol) -> int:
        return max(self.last_funding_ms(symbol), self.funding_skipped_ms(symbol))

    def funding_skipped_ms(self, symbol: Symbol) -> int:
        return self.watermark(operations.skipped_name(symbol))

    async def book_income(self, income: Income) -> bool:
        def run(plan: Plan, known: Known) -> bool:
            return not known.income_posted and operations.book_income(plan, income)

        return (await self._writer.submit(run, Wants(income=income)))[0]

    async def set_watermark(self, name: str, moment_ms: int) -> None:
        await self._writer.submit(lambda plan, _: operations.set_watermark(plan, name, moment_ms))

    def watermark(self, name: str) -> int:
        return self._writer.book.watermarks.get(name) or 0

    def last_funding_ms(self, symbol: Symbol) -> int:
        return self._writer.book.funding_times.get(symbol) or 0

    async def held_since(self, symbol: Symbol, since_ms: int) -> int | None:
        reads = FundingReads(self.store, self.exchange_account_id)
        if since_ms == self.last_funding_ms(symbol):
            # Who held it then was paid then; executions since need not be added up.
            held = await reads.anybody_paid(symbol, since_ms)
        else:
            moved = await reads.moved_since(symbol, since_ms)
            positions = [each for each in self._writer.book.positions.values() if each.symbol == symbol]
            now = {each.sub_account_id: each.signed_quantity for each in positions}
            held = any(now.get(each, ZERO) != moved.get(each, ZERO) for each in {*now, *moved})
        return since_ms if held else await reads.first_move_ms(symbol, since_ms)
