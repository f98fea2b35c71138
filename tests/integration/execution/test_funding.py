"""Funding and movements of the real account, end to end: the wallet of the books is the exchange's."""

from decimal import Decimal
from pathlib import Path

from pms.engine import EMBEDDED_KEY
from pms.ledger.operations.funding import payment
from pms.model.income import FundingRate
from tests.support.clocks import FUNDING_SECONDS, HOUR_SECONDS, PushedClock
from tests.support.laboratory import BTC, ETH, LONG, NATIVE, SHORT, Laboratory, laboratory
from tests.support.waiting import until

D = Decimal
RATE = D("0.0001")


def clock_before_a_funding(seconds: float) -> PushedClock:
    """A clock that stands so long before the exchange's next funding."""
    clock = PushedClock()
    clock.pushed_seconds += FUNDING_SECONDS - HOUR_SECONDS - seconds
    return clock


async def same_wallet(lab: Laboratory) -> bool:
    """Tell whether the exchange has the wallet balance that the books imply."""
    told = (await lab.parts.exchange.account.wallet()).wallet_balance
    return abs(told - lab.parts.ledger.derived_wallet()) < D("1e-6")


def set_rates(lab: Laboratory) -> None:
    lab.exchange.venue.feed.funding_rate.update(dict.fromkeys(NATIVE.values(), f"{RATE}"))


async def funded(lab: Laboratory, clock: PushedClock, times: int, lines: int) -> None:
    """Let time pass until so many fundings are booked and so many lines of income posted."""
    wired = lab.parts.wired
    for _ in range(120):
        if wired.funding.statistics().booked >= times and wired.income.statistics().posted >= lines:
            return
        await clock.run_for(2)
    raise AssertionError(f"{wired.funding.statistics()} {wired.income.statistics()}")


def balance(lab: Laboratory, account: str) -> Decimal:
    found = lab.parts.ledger.account(lab.accounts[account])
    assert found is not None
    return found.balance


async def test_a_funding_moves_real_money_to_the_holders_and_one_while_down_is_caught_up(
    tmp_path: Path,
) -> None:
    clock = clock_before_a_funding(8)
    begun_ms = clock.now_ms()
    async with laboratory(tmp_path, clock) as lab:
        set_rates(lab)
        ledger = lab.parts.ledger
        for name, side, quantity, symbol in (
            ("long", LONG, "0.5", BTC),
            ("short", SHORT, "0.2", BTC),
            ("flat one way", LONG, "2", ETH),
            ("flat the other", SHORT, "2", ETH),
        ):
            await lab.account(name, 50_000)
            await lab.market(name, side, quantity, symbol)
        before = {name: balance(lab, name) for name in lab.accounts}
        names = dict(lab.accounts)
        await funded(lab, clock, times=2, lines=1)  # the flat net of ETH has no line on the exchange
        paid = {name: balance(lab, name) - before[name] for name in lab.accounts}
        assert paid == {
            "long": -D("0.5") * 60000 * RATE,
            "short": D("0.2") * 60000 * RATE,
            "flat one way": -2 * 3000 * RATE,
            "flat the other": 2 * 3000 * RATE,
        }
        assert await same_wallet(lab)
        assert [line.residue for line in await ledger.queries.fundings(0)] == [0, 0]

        lab.exchange.deposit(EMBEDDED_KEY, D(1234))
        await until(lambda: lab.parts.wired.income.statistics().expected == 1, "word of the deposit")
        house = ledger.house_cash()
        await clock.run_for(3)
        await until(lambda: ledger.house_cash() - house == 1234, "the deposit is the house's")
        assert await same_wallet(lab)

    clock.pushed_seconds += FUNDING_SECONDS
    async with laboratory(tmp_path, clock) as lab:
        lab.accounts.update(names)
        await funded(lab, clock, times=2, lines=1)
        again = {name: balance(lab, name) - before[name] - paid[name] for name in lab.accounts}
        expected: dict[str, Decimal] = {}
        for symbol, *names_of in ((BTC, "long", "short"), (ETH, "flat one way", "flat the other")):
            history = lab.parts.exchange.market.funding_rates
            told = (await history(symbol, begun_ms, clock.now_ms()))[-1]
            assert isinstance(told, FundingRate)
            for name in names_of:
                expected[name] = payment(lab.held(name, symbol), told.mark_price, told.rate)
        assert again == expected
        assert again["long"] != 0
        assert await same_wallet(lab)


async def test_without_the_setting_the_house_bears_the_exchanges_funding(tmp_path: Path) -> None:
    clock = clock_before_a_funding(8)
    async with laboratory(tmp_path, clock, funding=False) as lab:
        set_rates(lab)
        await lab.account("long", 50_000)
        await lab.market("long", LONG, "0.5")
        before = balance(lab, "long")
        await funded(lab, clock, times=0, lines=1)
        assert balance(lab, "long") == before
        (told,) = await lab.parts.ledger.queries.fundings(0)
        assert (told.holders, told.exchange, told.residue) == (0, -3, -3)
        assert await same_wallet(lab)
