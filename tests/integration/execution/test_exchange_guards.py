"""What the exchange may change under a running engine: the account's mode, and a symbol's trading."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from pms.execution.api import Executed
from pms.gateway.ports import EngineHealth
from pms.model.refusal import RefusalCode, Refused
from pms.probes import EngineProbes
from pms.runtime import SystemClock
from pms.sync import account_guard
from tests.support.laboratory import ACTOR, BTC, ETH, LONG, Laboratory, laboratory
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANY = msgspec.json.Decoder(msgspec.Raw)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    folder: Path = tmp_path_factory.mktemp("guards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account_guard, "RECHECK_SECONDS_MIN", 0.05)
        async with laboratory(folder) as running:
            await running.account("A")
            yield running


def codes(outcome: object) -> list[RefusalCode]:
    assert isinstance(outcome, Refused), outcome
    return [each.code for each in outcome.refusals]


def health(lab: Laboratory) -> EngineHealth:
    return EngineProbes(lab.parts, SystemClock()).engine()


async def post(lab: Laboratory, path: str, **parameters: str) -> None:
    """Change a setting of the real account, as somebody on the exchange's own page would."""
    await lab.parts.exchange._rest.read(path, tuple(parameters.items()), ANY, method="POST")


async def test_a_changed_account_mode_stops_new_exposure_and_is_released(lab: Laboratory) -> None:
    switches, guard = lab.parts.core.switches, lab.parts.wired.guard
    await post(lab, "/fapi/v1/positionSide/dual", dualSidePosition="true")
    # Sooner than the minute: the private stream tells that settings were changed.
    await post(lab, "/fapi/v1/leverage", symbol="BTCUSDT", leverage="21")
    await until(lambda: switches.halted, "the halt")
    assert codes(await lab.market("A", LONG, "0.010")) == [RefusalCode.TRADING_HALTED]
    assert "hedge mode" in guard.statistics().verdict.halted_because
    assert guard.leverage(BTC) == 21
    assert health(lab).halted_because == guard.statistics().verdict.halted_because
    await post(lab, "/fapi/v1/positionSide/dual", dualSidePosition="false")
    await post(lab, "/fapi/v1/leverage", symbol="BTCUSDT", leverage="20")
    await until(lambda: not switches.halted, "the release")
    assert isinstance(await lab.market("A", LONG, "0.010"), Executed)
    await lab.flatten()


async def test_a_symbol_that_leaves_trading_is_reduce_only(lab: Laboratory) -> None:
    assert isinstance(await lab.market("A", LONG, "0.010"), Executed)
    symbols = lab.parts.exchange._symbols
    symbols.note_status("BTCUSDT", "SETTLING")
    refused = await lab.market("A", LONG, "0.010")
    assert codes(refused) == [RefusalCode.SYMBOL_NOT_TRADING]
    assert isinstance(await lab.market("A", LONG, "0.1", ETH), Executed), "others trade on"
    shown = health(lab)
    assert shown.symbols_reduce_only == (BTC,)
    assert (shown.market_sockets, shown.market_streams_stale, shown.gaps_unreadable) == (2, 0, 0)
    assert shown.halted_because is None
    position = lab.position("A")
    assert position is not None
    assert not isinstance(await lab.parts.trader.close(position.id, ACTOR), Refused)
    assert lab.held("A", BTC) == Decimal(0)
    symbols.note_status("BTCUSDT", "TRADING")
    await lab.flatten()


async def test_isolated_margin_stops_new_exposure_on_its_symbol_only(lab: Laboratory) -> None:
    switches = lab.parts.core.switches
    switches.isolated = frozenset({BTC})
    assert codes(await lab.market("A", LONG, "0.010")) == [RefusalCode.TRADING_HALTED]
    assert isinstance(await lab.market("A", LONG, "0.1", ETH), Executed)
    await lab.parts.wired.guard.read()
    assert switches.isolated == frozenset(), "the exchange tells that it is on cross margin"
    await lab.flatten()
