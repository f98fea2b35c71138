"""Σ equity of the sub-accounts, followed commit by commit."""

from dataclasses import replace
from decimal import Decimal

from pms.execution.coverage import Coverage
from pms.ledger.api import Committed
from pms.model.account import PositionSide, PositionStatus
from pms.model.money import Money, Quantity
from pms.model.symbol import Symbol
from tests.unit.risk.builders import BTC, ETH, account, position


def test_cash_and_profit_of_everybody() -> None:
    marks: dict[Symbol, Decimal] = {}
    long = position(BTC, PositionSide.LONG, 2, 100, owner="a")
    short = position(BTC, PositionSide.SHORT, 5, 100, owner="b")
    poor = account("c", 0, owed=30)
    coverage = Coverage([account("a", 500), account("b", 700), poor], [long], marks.get)
    assert coverage.equity() == 1170, "what is owed counts against it; without a mark at cost"
    marks[BTC] = Decimal(110)
    assert coverage.equity() == 1190
    coverage.apply(Committed(positions=(short,)))
    assert coverage.equity() == 1140
    more = replace(long, quantity=Quantity(long.quantity * 2), cost=Money(long.cost * 2))
    coverage.apply(Committed(accounts=(account("a", 450),), positions=(more,)))
    assert coverage.equity() == 450 + 700 - 30 + 40 - 50
    closed = replace(more, status=PositionStatus.CLOSED)
    gone = replace(short, status=PositionStatus.LIQUIDATED)
    coverage.apply(Committed(positions=(closed, gone)))
    assert coverage.equity() == 1120
    coverage.apply(Committed(positions=(position(ETH, PositionSide.LONG, 1, 10),)))
    assert coverage.equity() == 1120
