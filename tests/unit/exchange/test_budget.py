"""The budget: fixed windows, lanes, corrections by reports, bans (Binance spec 1.4, 1.6; decision 22)."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.exchange.binance.bans import FileBans, MemoryBans, wait_out
from pms.exchange.binance.budget import Ban, Budget, Counted, Pause, Ticket
from pms.exchange.binance.costs import Cost, Lane, Pool, cost_of, endpoint_of, weight
from pms.exchange.binance.spending import OTHERS, Spending, Spent
from pms.exchange.messages import RateLimit
from pms.limits import EXCHANGE_SPENDERS_MAX
from tests.unit.exchange.test_binance_parts import Clock

MINUTE = 1_700_000_040_000  # the start of a minute, exchange time
NOW = MINUTE + 12_500
ORDER = cost_of(endpoint_of("POST", "/fapi/v1/order"), {})
NAME = Pool.WEIGHT_1M.value


def budget(weight_max: int = 100, orders_10s: int = 10, orders_1m: int = 100, reserve: int = 20) -> Budget:
    made = Budget(reserve)
    made.configure(
        [
            RateLimit(rate_limit_type=kind, interval=interval, interval_num=count, limit=limit)
            for kind, interval, count, limit in (
                ("REQUEST_WEIGHT", "MINUTE", 1, weight_max),
                ("ORDERS", "SECOND", 10, orders_10s),
                ("ORDERS", "MINUTE", 1, orders_1m),
                ("RAW_REQUESTS", "MINUTE", 5, 1),
            )
        ]
    )
    return made


def taken(budget: Budget, cost: Cost, lane: Lane = Lane.ORDINARY, now_ms: int = NOW) -> Ticket:
    ticket = budget.take(cost, lane, now_ms)
    assert isinstance(ticket, Ticket), ticket
    return ticket


def used(budget: Budget, pool: Pool = Pool.WEIGHT_1M, now_ms: int = NOW) -> int:
    return budget.statistics(now_ms)[pool.value].used


def test_a_request_is_counted_before_it_is_sent() -> None:
    one = budget()
    taken(one, weight(30))
    assert used(one) == 30
    assert one.statistics(NOW)[NAME].under_way == 30


def test_ordinary_traffic_stops_before_the_reserve_and_risk_does_not() -> None:
    one = budget()
    taken(one, weight(80))
    paused = one.take(weight(1), Lane.ORDINARY, NOW)
    assert isinstance(paused, Pause)
    assert paused.retry_after_ms == 47_500, "the minute ends then"
    assert "kept for reducing risk" in paused.reason
    taken(one, weight(20), Lane.RISK)
    assert isinstance(one.take(weight(1), Lane.RISK, NOW), Pause), "the whole window is the bound of both"


def test_filling_a_gap_leaves_room_for_cancels() -> None:
    one = budget(weight_max=100, reserve=20)
    trades = endpoint_of("GET", "/fapi/v1/userTrades")
    for _ in range(18):
        taken(one, cost_of(trades, {}), trades.lane)
    assert isinstance(one.take(cost_of(trades, {}), trades.lane, NOW), Pause)
    assert isinstance(one.take(weight(1), Lane.ORDINARY, NOW), Pause)
    cancel = endpoint_of("DELETE", "/fapi/v1/order")
    for _ in range(10):
        taken(one, cost_of(cancel, {}), cancel.lane)


def test_an_order_needs_room_in_both_order_windows() -> None:
    one = budget(orders_10s=10, orders_1m=100)
    for _ in range(8):
        one.settle(taken(one, ORDER), Counted.ANSWERED, {}, NOW)
    paused = one.take(ORDER, Lane.ORDINARY, NOW)
    assert isinstance(paused, Pause)
    assert paused.retry_after_ms == 7_500
    taken(one, ORDER, Lane.RISK)
    taken(one, ORDER, now_ms=NOW + 7_500)


def test_a_refused_request_costs_nothing() -> None:
    one = budget(orders_10s=10)
    for _ in range(8):
        taken(one, ORDER)
    assert isinstance(one.take(ORDER, Lane.ORDINARY, NOW), Pause)
    assert used(one, Pool.ORDERS_1M) == 8


def test_a_new_window_starts_with_what_is_under_way() -> None:
    one = budget()
    answered, flying = taken(one, weight(40)), taken(one, weight(7))
    one.settle(answered, Counted.ANSWERED, {}, NOW)
    assert used(one) == 47
    assert used(one, now_ms=MINUTE + 60_000) == 7
    one.settle(flying, Counted.ANSWERED, {}, MINUTE + 60_000)
    assert used(one, now_ms=MINUTE + 60_000) == 7


def test_a_clock_that_was_wrong_for_a_moment_does_not_stop_us_until_it_would_be_right() -> None:
    one = budget(weight_max=100, reserve=0)
    hour_ms = 3_600_000
    ahead = taken(one, weight(60), now_ms=NOW + hour_ms)
    one.settle(ahead, Counted.ANSWERED, {}, NOW + hour_ms)
    taken(one, weight(40))
    full = one.take(weight(1), Lane.RISK, NOW)
    assert isinstance(full, Pause), "what was counted counts until the window ends"
    assert used(one, now_ms=MINUTE + 60_000) == 40, "and the next window is a new one"


def test_a_ban_longer_than_any_is_not_believed(tmp_path: Path) -> None:
    three_days_ms = 3 * 86_400_000
    assert Ban(NOW + three_days_ms, NOW).credible(NOW) == Ban(NOW + three_days_ms, NOW)
    assert Ban(NOW + 10 * three_days_ms, 10**18).credible(NOW) == Ban()


REPORTS: list[tuple[str, Counted, dict[Pool, int], int]] = [
    ("more than we knew of: others spend too", Counted.ANSWERED, {Pool.WEIGHT_1M: 60}, 60 + 5),
    ("less than we counted: corrected downwards", Counted.ANSWERED, {Pool.WEIGHT_1M: 3}, 3 + 5),
    ("never below what is under way", Counted.ANSWERED, {Pool.WEIGHT_1M: 0}, 5),
    ("no report: counted as sent", Counted.ANSWERED, {}, 10 + 5),
    ("no answer: counted as sent", Counted.LOST, {}, 10 + 5),
    ("never left: not counted", Counted.NOT_SENT, {}, 5),
    ("turned away (-1008): not counted", Counted.TURNED_AWAY, {}, 5),
]


@pytest.mark.parametrize(
    ("counted", "reported", "expected"), [row[1:] for row in REPORTS], ids=[r[0] for r in REPORTS]
)
def test_corrections(counted: Counted, reported: Mapping[Pool, int], expected: int) -> None:
    one = budget()
    ticket = taken(one, weight(10))
    taken(one, weight(5))
    one.settle(ticket, counted, reported, NOW)
    assert used(one) == expected


def test_reports_that_arrive_out_of_order_do_not_turn_the_count_back() -> None:
    one = budget()
    first, second = taken(one, weight(1)), taken(one, weight(1))
    one.settle(second, Counted.ANSWERED, {Pool.WEIGHT_1M: 52}, NOW)
    one.settle(first, Counted.ANSWERED, {Pool.WEIGHT_1M: 51}, NOW)
    assert used(one) == 52


def test_a_report_across_two_windows_is_not_believed_but_the_request_counts() -> None:
    one = budget()
    ticket = taken(one, weight(4), now_ms=MINUTE - 1)
    one.settle(ticket, Counted.ANSWERED, {Pool.WEIGHT_1M: 99}, MINUTE + 1)
    assert used(one, now_ms=MINUTE + 1) == 4


def test_a_ban_stops_both_lanes_and_an_order_limit_only_orders() -> None:
    one = budget()
    one.stop(NOW + 5_000, orders_only=True)
    assert one.take(ORDER, Lane.RISK, NOW) == Pause("the exchange's order limit holds", 5_000)
    taken(one, weight(1))
    one.stop(NOW + 9_000, orders_only=False)
    one.stop(NOW + 1_000, orders_only=False)
    paused = one.take(weight(0), Lane.RISK, NOW)
    assert isinstance(paused, Pause)
    assert paused.retry_after_ms == 9_000, "a shorter stop never ends a longer one"
    taken(one, ORDER, now_ms=NOW + 9_000)


def test_pools_are_apart() -> None:
    one = budget(weight_max=1)
    funding = cost_of(endpoint_of("GET", "/fapi/v1/fundingRate"), {"symbol": "BTCUSDT"})
    statistics = cost_of(endpoint_of("GET", "/futures/data/basis"), {})
    for _ in range(500):
        one.settle(taken(one, funding), Counted.ANSWERED, {}, NOW)
    assert isinstance(one.take(funding, Lane.ORDINARY, NOW), Pause)
    taken(one, statistics)
    assert used(one) == 0


LANE_MAX = {Lane.ORDINARY: 80, Lane.RECOVERY: 90, Lane.RISK: 100}
"""How much of the window of 100, with a reserve of 20, each lane may fill."""


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["take", "settle"]),
            st.integers(0, 30_000),
            st.integers(0, 20),
            st.sampled_from(Counted),
            st.integers(0, 60) | st.none(),
            st.sampled_from(Lane),
        ),
        max_size=40,
    )
)
def test_no_sequence_exceeds_a_window_or_loses_what_is_under_way(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    one, now, open_tickets = budget(), NOW, []
    for step, later_ms, amount, counted, report, lane in steps:
        now += later_ms
        if step == "take":
            ticket = one.take(weight(amount), lane, now)
            if isinstance(ticket, Ticket):
                open_tickets.append(ticket)
                # What weighs nothing passes whatever the reports have told.
                assert not amount or used(one, now_ms=now) <= LANE_MAX[lane]
        elif open_tickets:
            ticket = open_tickets.pop(amount % len(open_tickets))
            reported = {} if report is None else {Pool.WEIGHT_1M: report}
            one.settle(ticket, counted, reported, now)
        window = one.statistics(now)[NAME]
        assert window.under_way == sum(each.cost.weight for each in open_tickets)
        assert window.used >= window.under_way


COSTS = [
    ("POST", "/fapi/v1/order", {}, 0, 1, 1),
    ("PUT", "/fapi/v1/order", {}, 0, 1, 1),
    ("POST", "/fapi/v1/batchOrders", {}, 5, 5, 1),
    ("PUT", "/fapi/v1/batchOrders", {}, 5, 5, 1),
    ("DELETE", "/fapi/v1/batchOrders", {}, 1, 0, 0),
    ("DELETE", "/fapi/v1/order", {}, 1, 0, 0),
    ("POST", "/fapi/v1/algoOrder", {}, 0, 1, 1),
    ("GET", "/fapi/v1/openOrders", {"symbol": "BTCUSDT"}, 1, 0, 0),
    ("GET", "/fapi/v1/openOrders", {}, 40, 0, 0),
    ("GET", "/fapi/v1/allOrders", {}, 5, 0, 0),
    ("GET", "/fapi/v1/userTrades", {}, 5, 0, 0),
    ("GET", "/fapi/v3/positionRisk", {}, 5, 0, 0),
    ("GET", "/fapi/v2/positionRisk", {}, 10, 0, 0),
    ("GET", "/fapi/v1/income", {}, 30, 0, 0),
    ("GET", "/fapi/v1/klines", {"limit": "99"}, 1, 0, 0),
    ("GET", "/fapi/v1/klines", {"limit": "100"}, 2, 0, 0),
    ("GET", "/fapi/v1/klines", {}, 5, 0, 0),
    ("GET", "/fapi/v1/klines", {"limit": "1000"}, 5, 0, 0),
    ("GET", "/fapi/v1/klines", {"limit": "1500"}, 10, 0, 0),
    ("GET", "/fapi/v1/depth", {"limit": "50"}, 2, 0, 0),
    ("GET", "/fapi/v1/depth", {"limit": "1000"}, 20, 0, 0),
    ("GET", "/fapi/v1/ticker/24hr", {}, 40, 0, 0),
    ("POST", "/fapi/v1/countdownCancelAll", {}, 10, 0, 0),
    ("GET", "/fapi/v1/newThing", {}, 50, 0, 0),
]


@pytest.mark.parametrize(("method", "path", "parameters", "weight_1m", "orders_10s", "orders_1m"), COSTS)
def test_costs(
    method: str, path: str, parameters: dict[str, str], weight_1m: int, orders_10s: int, orders_1m: int
) -> None:
    amounts = dict(cost_of(endpoint_of(method, path), parameters).amounts)
    found = tuple(amounts.get(pool, 0) for pool in (Pool.WEIGHT_1M, Pool.ORDERS_10S, Pool.ORDERS_1M))
    assert found == (weight_1m, orders_10s, orders_1m)


@pytest.mark.parametrize(
    ("method", "path", "lane"),
    [
        ("DELETE", "/fapi/v1/order", Lane.RISK),
        ("DELETE", "/fapi/v1/batchOrders", Lane.RISK),
        ("GET", "/fapi/v3/positionRisk", Lane.RISK),
        ("GET", "/fapi/v1/order", Lane.RISK),
        ("GET", "/fapi/v1/time", Lane.RISK),
        ("PUT", "/fapi/v1/listenKey", Lane.RISK),
        ("GET", "/fapi/v1/klines", Lane.ORDINARY),
        ("POST", "/fapi/v1/order", Lane.ORDINARY),
    ],
)
def test_lanes_of_endpoints(method: str, path: str, lane: Lane) -> None:
    assert endpoint_of(method, path).lane is lane


def test_a_ban_is_kept_for_the_venue_that_spoke_it(tmp_path: Path) -> None:
    path = tmp_path / "ban.json"
    bans = FileBans(path, "https://fapi.binance.com")
    assert bans.load() == Ban()
    bans.save(Ban(MINUTE, 7))
    assert FileBans(path, "https://fapi.binance.com").load() == Ban(MINUTE, 7)
    assert FileBans(path, "https://demo-fapi.binance.com").load() == Ban()
    assert [each.name for each in tmp_path.iterdir()] == ["ban.json"]
    FileBans(path, "https://fapi.binance.com").save(Ban(MINUTE - 1, 8))
    assert bans.load() == Ban(MINUTE, 8), "a longer ban of another process stays"
    path.write_bytes(b"{half")
    assert bans.load() == Ban()
    FileBans(tmp_path / "nowhere" / "ban.json", "x").save(Ban(1))


@pytest.mark.parametrize(("left_ms", "waited_ms"), [(-5, 0), (0, 0), (120_000, 120_000), (150_001, 0)])
async def test_a_short_ban_is_waited_for_and_a_long_one_is_not(left_ms: int, waited_ms: int) -> None:
    bans, clock, said = MemoryBans(), Clock(), list[str]()
    started_ms = clock.now_ms()
    bans.save(Ban(started_ms + left_ms))
    await wait_out(bans, clock, said.append)
    assert clock.now_ms() - started_ms == waited_ms
    assert len(said) == (waited_ms > 0)


def test_who_spent_what_is_bounded() -> None:
    spending = Spending()
    for number in range(EXCHANGE_SPENDERS_MAX + 5):
        spending.sent("order place", f"{number:08}", ORDER)
    spending.refused("order place", "00000001")
    assert spending.by_group()["order place"] == Spent(
        EXCHANGE_SPENDERS_MAX + 5, 0, EXCHANGE_SPENDERS_MAX + 5, 1
    )
    assert spending.by_owner()["00000001"] == Spent(1, 0, 1, 1)
    assert len(spending.by_owner()) == EXCHANGE_SPENDERS_MAX + 1
    assert spending.by_owner()[OTHERS].orders == 5
