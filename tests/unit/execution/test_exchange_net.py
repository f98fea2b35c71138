"""The netting identity: judged at a watermark, unknown is never flat."""

from decimal import Decimal

from pms.exchange.port import ExchangePosition
from pms.execution.exchange_net import PERSISTENCE_MS, ExchangeNet
from pms.model.money import Price
from pms.model.symbol import Symbol

BTC = Symbol("BTC/USDT:USDT")
ZERO = Decimal(0)


def position(quantity: str, time_ms: int) -> ExchangePosition:
    return ExchangePosition(BTC, Decimal(quantity), Price(Decimal(100)), time_ms)


def test_nothing_is_known_before_a_complete_snapshot() -> None:
    net = ExchangeNet()
    net.report(position("1", 5))
    assert net.net(BTC) is None
    net.snapshot((), 4)
    assert net.net(BTC) == 1, "the report is newer than the snapshot"
    net.snapshot((), 6)
    assert net.net(BTC) == 0
    net.forget()
    assert net.net(BTC) is None, "unknown is a state of its own, never flat"


def test_an_older_report_never_replaces_a_newer_one() -> None:
    net = ExchangeNet()
    net.snapshot((position("2", 10),), 10)
    net.report(position("1", 9))
    assert net.net(BTC) == 2


def test_a_difference_counts_only_when_it_persists() -> None:
    net = ExchangeNet()
    net.snapshot((position("2", 10),), 10)
    assert net.judge(BTC, Decimal(2), ZERO, 1_000).balanced
    # A fill is booked before the position report arrives: the identity keeps its watermark.
    early = net.judge(BTC, Decimal(3), ZERO, 1_100)
    assert early.balanced
    assert early.watermark_ms == 1_000
    assert early.virtual_net == 2
    net.report(position("3", 11))
    assert net.judge(BTC, Decimal(3), ZERO, 1_200).watermark_ms == 1_200
    # A difference that stays is told, with its size.
    net.report(position("4", 12))
    assert net.judge(BTC, Decimal(3), ZERO, 2_000).balanced
    late = net.judge(BTC, Decimal(3), ZERO, 2_000 + PERSISTENCE_MS)
    assert not late.balanced
    assert late.difference == 1


def test_a_changing_difference_starts_a_new_observation() -> None:
    net = ExchangeNet()
    net.snapshot((position("0", 1),), 1)
    assert net.judge(BTC, ZERO, ZERO, 0).balanced
    for step in range(1, 20):
        net.report(position(str(step), 1 + step))
        assert net.judge(BTC, Decimal(step - 1), ZERO, step * 500).balanced
