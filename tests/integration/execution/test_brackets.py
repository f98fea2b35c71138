"""The engine with maintenance by the exchange's brackets: figures, prices, preview and liquidation agree."""

from decimal import Decimal
from pathlib import Path

import pytest

from pms.execution.api import Executed
from pms.model.account import AccountStatus
from pms.risk.liquidation import Level
from pms.risk.preview import PriceMove
from tests.support.laboratory import BTC, LONG, laboratory
from tests.support.waiting import until


async def test_a_large_position_is_liquidated_at_the_price_that_its_brackets_say(tmp_path: Path) -> None:
    """32 BTC at 60,000 are in the bracket of 0.65 % less 1,500; the account's rate alone would be 0.5 %."""
    async with laboratory(tmp_path, maintenance="brackets") as lab:
        account_id = await lab.account("Alice", 210_000)
        for _ in range(2):
            assert isinstance(await lab.market("Alice", LONG, "16"), Executed)
        state = lab.parts.trader.account_state(account_id)
        assert state is not None
        notional = 32 * 60_000.0
        assert state.summary.maintenance_margin == pytest.approx(notional * 0.0065 - 1_500, rel=1e-6)
        price = state.positions[0].liquidation_price
        assert state.summary.account_liquidation_price == price

        def level_at(mark: float) -> Level:
            move = PriceMove(prices={BTC: Decimal(repr(mark))})
            found = lab.parts.trader.preview(account_id, move)
            assert found is not None
            return found.level

        assert (level_at(price * 1.0001), level_at(price * 0.9999)) == (Level.WARN, Level.LIQUIDATE)
        desk = lab.parts.trader.preview_desk([PriceMove(Decimal(-11))])[0]
        assert [row.account_id for row in desk.scenario.accounts] == [account_id]
        # The real account holds the same 32 BTC, and paid 960 of fees for them.
        assert desk.real_equity is not None
        assert desk.real_equity == pytest.approx(1_000_000 - 960 - notional * 0.11, rel=1e-4)
        assert desk.coverage == pytest.approx(desk.virtual_equity / desk.real_equity)
        above, below = Decimal(str(round(price * 1.0005, 1))), Decimal(str(round(price * 0.9995, 1)))
        await lab.price(BTC, str(above - Decimal("0.1")), str(above + Decimal("0.1")))
        assert lab.status("Alice") is AccountStatus.ACTIVE
        assert lab.held("Alice") == 32
        await lab.price(BTC, str(below - Decimal("0.1")), str(below + Decimal("0.1")))
        await until(lambda: lab.status("Alice") is AccountStatus.LIQUIDATED, "the liquidation", seconds=10)
        assert lab.parts.core.brackets.statistics().readings == 1
