"""The real account's settings: wrong ones halt new exposure, mended ones are released, unread ones change
nothing (decision 15)."""

import asyncio

import pytest

from pms.exchange.errors import AccountGuardError, ExchangeUnavailable
from pms.exchange.port import AccountMode, SymbolSettings
from pms.execution.admission import TradingSwitches
from pms.model.symbol import Symbol
from pms.runtime import SystemClock
from pms.sync import account_guard
from pms.sync.account_guard import AccountGuard, judge
from tests.support.waiting import until
from tests.unit.sync.scripted import RIGHT_MODE as RIGHT
from tests.unit.sync.scripted import ScriptedExchange

BTC, ETH = Symbol("BTC/USDT:USDT"), Symbol("ETH/USDT:USDT")
CROSS, ISOLATED = SymbolSettings(True, 20), SymbolSettings(False, 20)

MODES = [
    (RIGHT, ""),
    (AccountMode(one_way=False, single_asset=True, can_trade=True), "hedge mode"),
    (AccountMode(one_way=True, single_asset=False, can_trade=True), "multi-asset"),
    (AccountMode(one_way=True, single_asset=True, can_trade=False), "may not trade"),
]


@pytest.mark.parametrize(("mode", "because"), MODES)
def test_the_verdict_on_the_mode(mode: AccountMode, because: str) -> None:
    verdict = judge(mode, {BTC: CROSS}, [BTC])
    assert because in verdict.halted_because
    assert bool(verdict.halted_because) == bool(because)


def test_only_used_symbols_must_be_on_cross_margin() -> None:
    settings = {BTC: CROSS, ETH: ISOLATED}
    assert judge(RIGHT, settings, [BTC]).isolated == frozenset()
    assert judge(RIGHT, settings, [BTC, ETH]).isolated == {ETH}
    assert judge(RIGHT, {}, [ETH]).isolated == frozenset(), "what is not told is not held against it"


def guard_of(
    exchange: ScriptedExchange, interval_seconds: float = 60.0
) -> tuple[AccountGuard, TradingSwitches]:
    switches = TradingSwitches()
    return AccountGuard(exchange, switches, lambda: [BTC, ETH], SystemClock(), interval_seconds), switches


async def test_a_start_in_a_wrong_mode_is_refused() -> None:
    exchange = ScriptedExchange(account_mode=AccountMode(False, True, True))
    guard, switches = guard_of(exchange)
    with pytest.raises(AccountGuardError, match="hedge mode"):
        await guard.require()
    assert switches.halted


async def test_a_change_is_read_at_once_and_released_when_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_guard, "RECHECK_SECONDS_MIN", 0.0)
    exchange = ScriptedExchange(settings={BTC: CROSS, ETH: CROSS})
    guard, switches = guard_of(exchange)
    await guard.require()
    assert guard.leverage(BTC) == 20
    running = asyncio.create_task(guard.run())
    exchange.account_mode = AccountMode(False, True, True)
    guard.recheck()
    await until(lambda: switches.halted, "the halt")
    assert "hedge" in guard.statistics().verdict.halted_because
    exchange.failures = 1
    guard.recheck()
    await until(lambda: guard.statistics().failures == 1, "the failure")
    assert switches.halted, "what cannot be read changes nothing"
    exchange.account_mode = RIGHT
    exchange.settings = {BTC: CROSS, ETH: SymbolSettings(False, 50)}
    guard.recheck()
    await until(lambda: not switches.halted, "the release")
    assert switches.isolated == {ETH}
    assert guard.leverage(ETH) == 50
    running.cancel()


async def test_a_change_that_could_not_be_read_is_read_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_guard, "RECHECK_SECONDS_MIN", 0.0)
    exchange = ScriptedExchange(failures=2)
    guard, switches = guard_of(exchange)
    running = asyncio.create_task(guard.run())
    exchange.account_mode = AccountMode(False, True, True)
    guard.recheck()
    await until(lambda: switches.halted, "the halt")
    assert guard.statistics().failures == 2
    running.cancel()


async def test_settings_are_read_again_without_a_hint() -> None:
    exchange = ScriptedExchange()
    guard, switches = guard_of(exchange, interval_seconds=0.01)
    running = asyncio.create_task(guard.run())
    await until(lambda: guard.statistics().readings >= 2, "two readings")
    exchange.account_mode = AccountMode(True, False, True)
    await until(lambda: switches.halted, "the halt")
    running.cancel()


async def test_an_account_that_cannot_be_read_does_not_start() -> None:
    exchange = ScriptedExchange(failures=1)
    guard, _ = guard_of(exchange)
    with pytest.raises(ExchangeUnavailable):
        await guard.require()
