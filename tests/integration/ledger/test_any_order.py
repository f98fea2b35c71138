"""Decision 4: closing any set of positions in any order gives the same balance - owed."""

import asyncio
import shutil
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pms.ledger.audit import audit
from pms.ledger.ledger import LedgerService
from pms.model.ids import SubAccountId
from pms.model.order import OrderSide
from pms.model.symbol import Symbol
from tests.support.ledger import BTC, ETH, Desk, money, opened

SYMBOLS = [Symbol(f"{name}/USDT:USDT") for name in ("AAA", "BBB", "CCC", "DDD")]
Holding = tuple[OrderSide, str, str, str]
"""Side, quantity, entry price, closing price."""

holdings = st.lists(
    st.tuples(
        st.sampled_from([OrderSide.BUY, OrderSide.SELL]),
        st.sampled_from(["0.001", "0.37", "2", "15"]),
        st.sampled_from(["0.013", "9.99", "101.25"]),
        st.sampled_from(["0.0007", "3.33", "88.1", "260"]),
    ),
    min_size=1,
    max_size=len(SYMBOLS),
)


async def closed(desk: Desk, balance: str, held: Sequence[Holding], order: Sequence[int]) -> SubAccountId:
    """An account that opened all holdings and closed them in the order given, each in two parts."""
    account = await desk.account("A", balance)
    for number, (side, quantity, entry, _) in enumerate(held):
        await desk.trade_at(account.id, side, quantity, entry, symbol=SYMBOLS[number])
    for number in order:
        side, quantity, _, price = held[number]
        for part in (Decimal(quantity) / 4, Decimal(quantity) * 3 / 4):
            await desk.trade_at(
                account.id,
                side.opposite,
                f"{part:f}",
                price,
                "0.01",
                reduce_only=True,
                action="CLOSE",
                symbol=SYMBOLS[number],
            )
    return account.id


def test_closing_any_set_of_positions_in_any_order_gives_the_same_balance_less_owed(
    tmp_path: Path, sqlite_template: Path
) -> None:
    shutil.copy(sqlite_template, tmp_path / "pms.db")
    url = f"sqlite:///{tmp_path / 'pms.db'}"
    with asyncio.Runner() as runner:
        desk = Desk(runner.run(opened(url)))
        runner.run(desk.ledger.adopt_wallet(money("10000000"), "epoch-1"))

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(held=holdings, balance=st.sampled_from(["0", "25", "5000"]), data=st.data())
        def check(held: list[Holding], balance: str, data: st.DataObject) -> None:
            places = list(range(len(held)))
            order = data.draw(st.permutations(places))
            first = desk.ledger.account(runner.run(closed(desk, balance, held, places)))
            second = desk.ledger.account(runner.run(closed(desk, balance, held, order)))
            assert first is not None
            assert second is not None
            assert first.cash == second.cash
            assert min(first.balance, first.owed) == min(second.balance, second.owed) == 0

        check()
        runner.run(desk.ledger.close())
        report = runner.run(audit(url))
        assert report.passed, "\n".join(report.lines())


@pytest.mark.parametrize("order", [(BTC, ETH), (ETH, BTC)], ids=["-150 first", "+200 first"])
async def test_minus_150_and_plus_200_closed_in_either_order(
    order: tuple[Symbol, Symbol], desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    """The incumbent clamps -150 of a balance of 100 at zero, then pays 200 on top: 200, not 150 (H12)."""
    account = await desk.account("A", "100")
    for symbol in (BTC, ETH):
        await desk.trade_at(account.id, OrderSide.BUY, "1", "1000", symbol=symbol)
    prices = {BTC: "850", ETH: "1200"}
    for symbol in order:
        await desk.trade_at(
            account.id, OrderSide.SELL, "1", prices[symbol], reduce_only=True, action="CLOSE", symbol=symbol
        )
    after = ledger.account(account.id)
    assert after is not None
    assert (after.balance, after.owed) == (150, 0)
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())
