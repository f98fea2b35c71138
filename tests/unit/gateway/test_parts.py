"""Rate limits, idempotency, statistics and rendering, each alone."""

import asyncio
import json
from decimal import Decimal

import pytest

from pms.exchange.binance.conduct import ConductStatistics, Reading
from pms.exchange.binance.spending import Spent
from pms.gateway import render, statistics, wire
from pms.gateway.errors import ApiError
from pms.gateway.idempotency import Answer, IdempotentRequests, fingerprint
from pms.gateway.ports import BalanceLogRow, ClosingTrade
from pms.gateway.rate_limit import RateLimiter
from pms.ledger.errors import DatabaseFullError
from pms.model.ids import BalanceLogId, SubAccountId
from pms.model.money import Money
from tests.unit.gateway.fake_clock import ShiftedClock
from tests.unit.gateway.fakes import (
    BTC,
    START_MS,
    FakeDirectory,
    FakeLedger,
    FakeQueries,
    rules_of,
)

DAY = 86_400_000


def test_a_window_allows_its_limit_and_then_starts_again() -> None:
    clock = ShiftedClock()
    limiter = RateLimiter(clock)
    assert [limiter.count("a", 2).allowed for _ in range(4)] == [True, True, False, False]
    assert limiter.count("b", 2).allowed, "keys are apart"
    denied = limiter.count("a", 2).headers()
    assert denied["RateLimit-Remaining"] == "0"
    assert denied["RateLimit-Policy"] == "2;w=60"
    assert 0 < int(denied["Retry-After"]) <= 60
    clock.shift_ms = 60_001
    assert limiter.count("a", 2).allowed


def test_the_table_of_windows_is_bounded() -> None:
    limiter = RateLimiter(ShiftedClock(), windows_max=10)
    for number in range(100):
        limiter.count(str(number), 1)
    assert limiter.size() == 10
    assert not limiter.count("99", 1).allowed, "the newest are kept"


class Work:
    def __init__(self, status: int = 201) -> None:
        self.runs = 0
        self.status = status

    async def __call__(self) -> Answer:
        self.runs += 1
        await asyncio.sleep(0.01)
        return Answer(self.status, f'"{self.runs}"')


async def test_concurrent_requests_of_one_key_execute_once() -> None:
    requests, work = IdempotentRequests(FakeQueries(), ShiftedClock()), Work()
    answers = await asyncio.gather(*(requests.run("k", "print", work) for _ in range(5)))
    assert work.runs == 1
    assert {answer.body for answer in answers} == {'"1"'}
    assert [answer.replayed for answer in answers].count(False) == 1
    assert (await requests.run("k", "print", work)).replayed
    assert work.runs == 1


async def test_a_key_with_another_request_conflicts_while_running_and_afterwards() -> None:
    requests, work = IdempotentRequests(FakeQueries(), ShiftedClock()), Work()
    running = asyncio.create_task(requests.run("k", "one", work))
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(ApiError) as conflict:
            await requests.run("k", "two", work)
        assert (conflict.value.status, conflict.value.code) == (409, "IDEMPOTENCY_CONFLICT")
        await running
    assert work.runs == 1


async def test_what_was_not_carried_out_may_be_sent_again() -> None:
    requests, work = IdempotentRequests(FakeQueries(), ShiftedClock()), Work(503)
    await requests.run("k", "print", work)
    work.status = 201
    assert (await requests.run("k", "print", work)).status == 201
    assert work.runs == 2


async def test_an_unknown_outcome_is_never_sent_again() -> None:
    queries = FakeQueries()
    requests, work = IdempotentRequests(queries, ShiftedClock()), Work(504)
    await requests.run("k", "print", work)
    assert (await requests.run("k", "print", work)).status == 504
    assert work.runs == 1

    async def dies() -> Answer:
        raise OSError("the process died here")

    with pytest.raises(OSError, match="died"):
        await requests.run("crash", "print", dies)
    with pytest.raises(ApiError) as unknown:
        await IdempotentRequests(queries, ShiftedClock()).run("crash", "print", work)
    assert (unknown.value.status, unknown.value.code) == (409, "EXECUTION_UNKNOWN")
    assert work.runs == 1


async def test_a_result_that_cannot_be_stored_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = FakeQueries()
    requests, work = IdempotentRequests(queries, ShiftedClock()), Work()

    async def fails(key: str, status: int, body: str) -> None:
        raise DatabaseFullError("disk full")

    monkeypatch.setattr(queries, "finish_idempotent", fails)
    assert (await requests.run("k", "print", work)).status == 201
    with pytest.raises(ApiError) as unknown:
        await requests.run("k", "print", work)
    assert unknown.value.code == "EXECUTION_UNKNOWN"
    assert work.runs == 1


def test_a_fingerprint_does_not_depend_on_the_order_of_fields() -> None:
    one = fingerprint("POST", "/a", {"x": Decimal("1.0"), "y": 2})
    assert one == fingerprint("POST", "/a", {"y": 2, "x": Decimal("1.0")})
    assert one != fingerprint("POST", "/b", {"x": Decimal("1.0"), "y": 2})


def closing(days_ago: int, pnl: str, action: str = "CLOSE") -> ClosingTrade:
    return ClosingTrade(START_MS - days_ago * DAY, action, Money(Decimal(pnl)), Money(Decimal(1)))


def test_statistics_count_closing_trades_by_period() -> None:
    directory = FakeDirectory()
    account = FakeLedger(directory).add("a", directory.add("alice"))
    trades = [
        closing(0, "10"),
        closing(3, "-4"),
        closing(20, "6"),
        closing(90, "-2"),
        closing(0, "0", "OPEN"),
    ]
    logs = [
        BalanceLogRow(
            BalanceLogId("l"),
            SubAccountId("a"),
            Money(Decimal(0)),
            Money(Decimal(5)),
            Money(Decimal(5)),
            "DEPOSIT",
            None,
            START_MS,
        )
    ]
    body = statistics.of_account(account, trades, logs, START_MS)
    assert [
        body.periods.today.rpnl,
        body.periods.week.rpnl,
        body.periods.month.rpnl,
        body.periods.all.rpnl,
    ] == [
        10,
        6,
        12,
        10,
    ]
    assert (body.periods.all.wins, body.periods.all.losses) == (2, 2)
    assert body.activity.total_trades == 5
    assert body.activity.win_rate == 50
    assert body.activity.profit_factor == pytest.approx(16 / 6)
    assert body.equity_curve[0].value == 5


def test_statistics_without_losses_are_finite_and_of_nothing_are_zero() -> None:
    directory = FakeDirectory()
    account = FakeLedger(directory).add("a", directory.add("alice"))
    assert statistics.of_account(account, [closing(0, "1")], [], START_MS).activity.profit_factor == 999
    assert statistics.of_account(account, [], [], START_MS).activity.model_dump() == dict.fromkeys(
        wire.ActivityBody.model_fields, 0
    )


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    points = [wire.CurvePoint(time=str(number), value=number) for number in range(9_999)]
    thin = statistics.thinned(points, 100)
    assert (len(thin), thin[0], thin[-1]) == (100, points[0], points[-1])


def test_precisions_are_digit_counts() -> None:
    info = render.symbol_info(rules_of(BTC))
    assert (info.price_precision, info.qty_precision, info.tick_size, info.step_size) == (1, 3, 0.1, 0.001)


def test_dates_have_milliseconds_and_z() -> None:
    assert render.iso(1_764_000_000_007) == "2025-11-24T16:00:00.007Z"


def test_statistics_are_rendered_with_their_own_keys_and_our_names() -> None:
    spent = Spent(requests=2, weight=7, orders=1, refused=0)
    reading = Reading("BTC/USDT:USDT", "GCR", Decimal("0.5"), Decimal("0.99"), False, 5)
    told = ConductStatistics((reading,), {"BTC/USDT:USDT GCR": ("abcdefgh",)}, {}, read_at_ms=9)
    body = render.record({"by_owner": {"abcdefgh": spent}, "conduct": told, "offset": float("inf")})
    assert json.loads(wire.json_text(body)) == {
        "by_owner": {"abcdefgh": {"requests": 2, "weight": 7, "orders": 1, "refused": 0}},
        "conduct": {
            "readings": [
                {
                    "scope": "BTC/USDT:USDT",
                    "indicator": "GCR",
                    "value": "0.5",
                    "triggerValue": "0.99",
                    "locked": False,
                    "recoverTimeMs": 5,
                }
            ],
            "held": {"BTC/USDT:USDT GCR": ["abcdefgh"]},
            "lockedUntilMs": {},
            "readAtMs": 9,
        },
        "offset": 0.0,
    }
