"""The real account behind everybody: its purse at the gate, its ladder, and what the exchange does to it
(decisions 11, 15 and 19)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio

from pms.engine import EMBEDDED_KEY
from pms.execution import real_account
from pms.execution.api import Executed, Resting
from pms.model.refusal import RefusalCode, Refused
from tests.support.laboratory import BTC, ETH, LONG, SHORT, Laboratory, laboratory
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    folder: Path = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(real_account, "READ_SECONDS_MIN", 0.02)
        async with laboratory(folder) as running:
            await running.account("A", balance=400_000)
            await running.account("B", balance=400_000)
            await running.account("C", balance=1_000)
            yield running


def codes(outcome: object) -> list[RefusalCode]:
    assert isinstance(outcome, Refused), outcome
    return [each.code for each in outcome.refusals]


async def deposit(lab: Laboratory, amount: str) -> None:
    """Move money on the real account's own page, and wait until the engine knows."""
    real = lab.parts.wired.real
    wanted = real.figures().margin_balance + Decimal(amount)
    lab.exchange.arm(kind="deposit", account=EMBEDDED_KEY, quantity=amount)
    await until(lambda: abs(real.figures().margin_balance - wanted) < 1, "the real wallet")


async def test_the_figures_are_the_exchanges_own(lab: Laboratory) -> None:
    real = lab.parts.wired.real
    assert isinstance(await lab.market("A", LONG, "2"), Executed)
    resting = await lab.limit("B", SHORT, "5", "61000")
    assert isinstance(resting, Resting)
    await lab.settled()
    told = await lab.parts.exchange.account.wallet()
    figures = real.figures()
    assert abs(figures.margin_balance - told.margin_balance) < Decimal("0.01")
    assert abs(figures.margin_available - told.available_balance) < Decimal("0.01")
    assert abs(figures.initial_margin - told.initial_margin) < Decimal("0.01")
    assert abs(figures.maintenance_margin - told.maintenance_margin) < Decimal("0.01")
    await lab.price(BTC, "60999.9", "60999.95")
    moved = real.figures()
    assert moved.margin_balance > figures.margin_balance + 1_900, "a mark moves it without any reading"
    assert moved.maintenance_margin > figures.maintenance_margin
    await lab.reset_prices()
    await lab.flatten()


async def test_both_purses_refuse_with_different_codes(lab: Laboratory) -> None:
    await deposit(lab, "-990000")
    try:
        real = lab.parts.wired.real
        available = real.figures().margin_available
        assert available < 12_000
        # 4 BTC are 240,000 USDT: 24,000 of A's own margin, and 12,000 of the real account's at 20x.
        assert codes(await lab.market("A", LONG, "4")) == [RefusalCode.REAL_MARGIN_INSUFFICIENT]
        assert codes(await lab.market("C", LONG, "4")) == [
            RefusalCode.INSUFFICIENT_MARGIN,
            RefusalCode.MARGIN_RATIO_EXCEEDED,
            RefusalCode.REAL_MARGIN_INSUFFICIENT,
        ]
        # What rests on the other side of what is held needs nothing: both cannot fill to the worse.
        assert isinstance(await lab.limit("A", LONG, "2", "59000"), Resting)
        assert isinstance(await lab.limit("B", SHORT, "1.9", "61000"), Resting)
        assert codes(await lab.limit("B", LONG, "2", "59000")) == [RefusalCode.REAL_MARGIN_INSUFFICIENT]
        # ... and what the exchange would take is what is left.
        assert isinstance(await lab.limit("B", LONG, "0.8", "59000"), Resting)
    finally:
        await deposit(lab, "990000")
        await lab.flatten()


async def test_reserved_in_the_step_of_the_gate(lab: Laboratory) -> None:
    """Orders of different accounts at the same moment: what the first takes, the second does not see."""
    await deposit(lab, "-990000")
    try:
        orders = [lab.limit(name, LONG, "0.7", "59000") for name in ("A", "B") * 5]
        outcomes = await asyncio.gather(*orders)
        taken = [each for each in outcomes if isinstance(each, Resting)]
        assert 4 <= len(taken) < 10
        assert all(
            isinstance(each, Resting) or codes(each) == [RefusalCode.REAL_MARGIN_INSUFFICIENT]
            for each in outcomes
        ), "none was refused by the exchange (-2019)"
        assert lab.parts.wired.real.figures().margin_available >= 0
    finally:
        await deposit(lab, "990000")
        await lab.flatten()


async def test_a_bracket_has_its_own_code(lab: Laboratory) -> None:
    real = lab.parts.wired.real
    real.take_leverage(ETH, 100)
    cap = real.purse(ETH).notional_cap
    assert cap is not None
    over = str((cap / 3000 + 5).quantize(Decimal(1)))
    assert RefusalCode.REAL_NOTIONAL_CAP in codes(await lab.market("A", LONG, over, ETH))
    await lab.parts.wired.guard.read()
    assert real.purse(ETH).leverage == 20, "the guard reads the exchange's own leverage"


async def test_an_account_that_was_not_read_takes_no_entry(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(await lab.market("A", LONG, "0.1"), Executed)
    monkeypatch.setattr(real_account, "READING_AGE_MS_MAX", -1)
    assert codes(await lab.market("A", LONG, "0.1")) == [RefusalCode.EXCHANGE_STATE_UNKNOWN]
    assert isinstance(await lab.market("A", SHORT, "0.1", reduce_only=True), Executed)
    assert lab.parts.wired.real.statistics().known is False
    monkeypatch.undo()
    assert isinstance(await lab.market("A", LONG, "0.1"), Executed)
    await lab.flatten()


async def test_coverage_is_virtual_equity_over_real_equity(lab: Laboratory) -> None:
    told = lab.parts.wired.real.statistics()
    equity = sum((account.cash for account in lab.parts.ledger.accounts()), Decimal(0))
    assert told.virtual_equity == equity
    assert abs(told.coverage - equity / told.margin_balance) < Decimal("1e-9")
    assert told.reading_age_ms >= 0
    assert replace(told, coverage=Decimal(0)).readings > 0


async def test_it_is_read_again_when_the_stream_comes_back(lab: Laboratory) -> None:
    gaps = lab.parts.wired.gap_filler.statistics().gaps_closed
    lab.exchange.arm(kind="cut", traffic="private")
    lab.exchange.arm(kind="deposit", account=EMBEDDED_KEY, quantity="500")
    await until(lambda: lab.parts.wired.gap_filler.statistics().gaps_closed > gaps, "the gap's end")
    told = await lab.parts.exchange.account.wallet()
    await until(
        lambda: lab.parts.wired.real.figures().margin_balance == told.margin_balance, "the new balance", 2
    )
    lab.exchange.arm(kind="deposit", account=EMBEDDED_KEY, quantity="-500")
