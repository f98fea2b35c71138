"""Which socket carries which stream: packed, bounded, and packed again without a stream on none."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pms.exchange.binance.stream_plan import Move, StreamPlan
from pms.exchange.errors import ExchangeUnavailable


def plan_of(count: int, per_socket: int = 4, streams_max: int = 100) -> StreamPlan:
    plan = StreamPlan(per_socket, streams_max)
    for number in range(count):
        plan.want(f"s{number}")
    return plan


@pytest.mark.parametrize(("streams", "sockets"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_a_socket_is_filled_before_another_opens(streams: int, sockets: int) -> None:
    assert len(plan_of(streams).sockets()) == sockets


def test_a_wish_is_idempotent_and_bounded() -> None:
    plan = plan_of(3, streams_max=3)
    assert plan.want("s0") == plan.want("s0") == 1
    with pytest.raises(ExchangeUnavailable, match="3 streams"):
        plan.want("more")
    assert plan.drop("never") is None
    assert plan.drop("s0") == 1
    assert plan.want("more") == 1


def test_the_least_loaded_socket_is_emptied_when_the_rest_has_room() -> None:
    plan = plan_of(9)
    for stream in ("s0", "s1", "s2"):
        assert not plan.repack(), "seven streams fill two sockets of four above 80 %"
        plan.drop(stream)
    # Six are left: s3 on 1, four on 2, s8 on 3.
    assert plan.repack() == [Move("s3", 1, 3)]
    assert plan.sockets() == (2, 3)
    assert plan.repack() == [], "six do not fit on one"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=120))
def test_every_wanted_stream_has_one_socket_within_its_bound(steps: list[tuple[bool, int]]) -> None:
    plan = StreamPlan(5, 100)
    carried: dict[str, int] = {}
    for wanted, number in steps:
        stream = f"s{number}"
        if wanted:
            carried[stream] = plan.want(stream)
        else:
            assert plan.drop(stream) == carried.pop(stream, None)
            for move in plan.repack():
                assert carried[move.stream] == move.source
                carried[move.stream] = move.target
        assert max(Counter(carried.values()).values(), default=0) <= 5
        assert set(plan.sockets()) == set(carried.values())
        assert len(plan) == len(carried)
