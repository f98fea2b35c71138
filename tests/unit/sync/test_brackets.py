"""Brackets are handed on when they differ, read every hour, and kept when they cannot be read."""

import asyncio

from pms.exchange.errors import ExchangeUnavailable
from pms.model.bracket import LeverageBracket
from pms.model.symbol import Symbol
from pms.sync.brackets import BracketReader, BracketsBySymbol
from tests.support.clocks import PushedClock
from tests.unit.risk.brackets import of_rows, tax_table

BTC = Symbol("BTC/USDT:USDT")
FIRST = of_rows({BTC: tax_table((0, "0.004"))})
SECOND = of_rows({BTC: tax_table((0, "0.008"))})


class Market:
    """Answers the given readings, one after the other."""

    def __init__(self, *answers: BracketsBySymbol | ExchangeUnavailable) -> None:
        self.answers = list(answers)

    async def brackets(self) -> dict[Symbol, tuple[LeverageBracket, ...]]:
        answer = self.answers.pop(0)
        if isinstance(answer, ExchangeUnavailable):
            raise answer
        return dict(answer)


async def test_only_changes_are_handed_on_and_a_failure_keeps_the_last() -> None:
    clock, taken = PushedClock(), list[BracketsBySymbol]()
    market = Market(FIRST, FIRST, ExchangeUnavailable("away"), SECOND)
    reader = BracketReader(market, clock)  # type: ignore[arg-type]  # nothing else is asked
    reader.on_change(taken.append)
    await reader.read()
    running = asyncio.create_task(reader.run())
    await clock.run_for(3 * 3600.0 + 1, step_seconds=600.0)
    running.cancel()
    assert taken == [FIRST, SECOND]
    assert reader.brackets == SECOND
    statistics = reader.statistics()
    assert (statistics.readings, statistics.changes, statistics.failures) == (3, 2, 1)
