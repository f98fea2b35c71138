"""The coalescer: no durable event lost or out of order, and never an old value where a newer one exists."""

from hypothesis import given
from hypothesis import strategies as st

from pms.gateway.frames import Frame, message
from pms.gateway.send_queue import SendQueue

STEPS = st.lists(
    st.one_of(
        st.just(("durable", "")),
        st.tuples(st.just("latest"), st.sampled_from("abc")),
        st.tuples(st.just("discard"), st.sampled_from("abc")),
        st.just(("drain", "")),
    ),
    max_size=60,
)


@given(STEPS)
def test_nothing_durable_is_lost_and_the_last_value_always_arrives(steps: list[tuple[str, str]]) -> None:
    queue = SendQueue()
    put: dict[Frame, tuple[str, int]] = {}
    sent: list[Frame] = []
    expected_last: dict[str, int | None] = {}
    for number, (step, key) in enumerate(steps):
        if step == "drain":
            sent += queue.drain()
        elif step == "discard":
            waiting = [frame for frame in put if frame not in sent and put[frame][0] == key]
            queue.discard(key)
            if waiting:
                expected_last[key] = None
        else:
            frame = message("t", {"n": number}, number)
            put[frame] = (key, number)
            if step == "durable":
                queue.put_durable(frame)
            else:
                queue.put_latest(key, frame)
                expected_last[key] = number
    sent += queue.drain()

    order = [put[frame][1] for frame in sent]
    assert order == sorted(order), "frames leave in the order of arrival"
    durable = [number for key, number in put.values() if key == ""]
    assert [put[frame][1] for frame in sent if put[frame][0] == ""] == durable
    for key, last in expected_last.items():
        if last is not None:
            assert [put[frame][1] for frame in sent if put[frame][0] == key][-1] == last
    assert len(sent) == len(set(sent)), "no frame twice"
    assert not queue


def test_a_value_that_is_replaced_is_never_encoded() -> None:
    queue = SendQueue()
    queue.put_latest("a", Frame({"cannot": object()}))
    queue.put_latest("a", message("t", {}, 1))
    assert [frame.text for frame in queue.drain()] == ['{"type":"t","data":{},"timestamp":1}']
    assert queue.statistics().replaced == 1


def test_a_reader_that_is_too_slow_overflows_once_and_holds_nothing() -> None:
    queue = SendQueue(bytes_max=100)
    for number in range(10):
        queue.put_durable(message("long", {"number": number, "text": "x" * 20}, number))
    assert queue.overflowed
    assert queue.statistics().backlog_bytes <= 100


def test_the_number_of_coalesced_keys_is_bounded() -> None:
    queue = SendQueue(keys_max=3)
    for key in "abc":
        queue.put_latest(key, message("t", {}, 1))
        queue.put_latest(key, message("t", {}, 2))
    assert not queue.overflowed
    queue.put_latest("d", message("t", {}, 1))
    assert queue.overflowed


def test_what_is_not_finite_becomes_null() -> None:
    assert message("t", {"a": float("nan"), "b": float("inf")}, 1).text.count("null") == 2
