"""The part of the ledger's service that books funding and income, and keeps what was read of them."""

from decimal import Decimal

from pms.ledger.api import BookedFunding
from pms.ledger.funding_reads import FundingReads
from pms.ledger.operations import funding as operations
from pms.ledger.plan import Plan
from pms.ledger.store import Store
from pms.ledger.writer import Known, Wants, Writer
from pms.model.ids import ExchangeAccountId
from pms.model.income import FundingRate, Income
from pms.model.symbol import Symbol


class FundingService:
    """Implements that part of `pms.ledger.api.Ledger`; see there. `LedgerService` is one."""

    exchange_account_id: ExchangeAccountId
    store: Store
    _writer: Writer

    async def book_funding(self, funding: FundingRate) -> BookedFunding:
        def run(plan: Plan, known: Known) -> tuple[bool, int, Decimal] | None:
            if known.funding.booked is not None:
                return None
            return operations.book_funding(plan, funding, known.funding)

        accounts_paid, amount = 0, Decimal(0)
        while True:
            step, _ = await self._writer.submit(run, Wants(funding=funding.key))
            if step is None:
                return BookedFunding(True, accounts_paid, amount)
            finished, count, part = step
            accounts_paid, amount = accounts_paid + count, amount + part
            if finished:
                return BookedFunding(False, accounts_paid, amount)

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
        moved = await reads.moved_since(symbol, since_ms)
        held = [position for position in self._writer.book.positions.values() if position.symbol == symbol]
        now = {position.sub_account_id: position.signed_quantity for position in held}
        if any(now.get(each, Decimal(0)) != moved.get(each, Decimal(0)) for each in {*now, *moved}):
            return since_ms
        return await reads.first_move_ms(symbol, since_ms)
