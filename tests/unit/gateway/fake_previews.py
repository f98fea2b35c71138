"""Views of a fake trading service: exposure, and previews by the real decisions on the fake's rows."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal

from pms.execution.api import Exposure
from pms.execution.previews import DeskPreview
from pms.model.account import Position, PositionSide, RiskRules, SubAccount
from pms.model.ids import SubAccountId
from pms.model.symbol import Symbol
from pms.risk.book import RiskBook
from pms.risk.preview import AccountPreview, PriceMove, preview

MARK = Decimal(50_000)


class FakePreviews(ABC):
    """Previews of what `held` returns."""

    @abstractmethod
    def held(self) -> tuple[Sequence[SubAccount], Sequence[Position]]:
        """Given by the fake that this is a part of."""

    def preview(self, sub_account_id: SubAccountId, move: PriceMove) -> AccountPreview | None:
        accounts, positions = self.held()
        for account in accounts:
            if account.id == sub_account_id:
                rows = [row for row in positions if row.sub_account_id == sub_account_id]
                marks: dict[str, Decimal] = {row.symbol: MARK for row in rows}
                return preview(account, RiskRules(), rows, marks, move, {}, None)
        return None

    def exposure(self) -> Sequence[Exposure]:
        holders = ((SubAccountId("alice-1"), "alice-1", PositionSide.LONG, Decimal("0.1")),)
        symbol, held = Symbol("BTC/USDT:USDT"), Decimal("0.1")
        return [Exposure(symbol, held, Decimal(0), held, Decimal(0), True, 1_764_000_000_000, holders)]

    def preview_desk(self, moves: Sequence[PriceMove]) -> Sequence[DeskPreview]:
        book = RiskBook()
        accounts, positions = self.held()
        for account in accounts:
            book.set_account(account, RiskRules())
        # These tests put several rows on one symbol; the newest stands for them.
        for row in {(row.sub_account_id, row.symbol): row for row in positions}.values():
            book.set_position(row)
            book.on_mark(row.symbol, float(MARK), 0)
        return [DeskPreview(move, book.scenario(move, 10), 1.0, None, None) for move in moves]
