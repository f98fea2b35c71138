"""The account queues: urgent turns first, equals in order, bounded, errors to the caller."""

import asyncio
from functools import partial

import pytest

from pms.execution.queues import AccountQueues
from pms.model.ids import SubAccountId
from pms.model.order import Priority

ALICE = SubAccountId("a")
BOB = SubAccountId("b")


async def test_waiting_turns_are_served_by_priority_then_by_arrival() -> None:
    queues = AccountQueues(waiting_max=10)
    served: list[str] = []
    waiting = [
        ("entry 1", Priority.ENTRY),
        ("algo", Priority.ALGO),
        ("entry 2", Priority.ENTRY),
        ("close", Priority.USER_CLOSE),
        ("liquidation", Priority.LIQUIDATION),
        ("stop", Priority.TRAILING_STOP),
    ]
    await asyncio.gather(
        *(queues.run(ALICE, priority, partial(served.append, name)) for name, priority in waiting)
    )
    assert served == ["liquidation", "close", "stop", "algo", "entry 1", "entry 2"]


async def test_an_urgent_turn_overtakes_those_that_still_wait() -> None:
    queues = AccountQueues(waiting_max=10)
    served: list[str] = []

    async def liquidate() -> None:
        await queues.run(ALICE, Priority.LIQUIDATION, lambda: served.append("liquidation"))

    def first() -> None:
        served.append("first")
        tasks.append(asyncio.ensure_future(liquidate()))

    tasks: list[asyncio.Future[None]] = []
    await asyncio.gather(
        queues.run(ALICE, Priority.ENTRY, first),
        *(queues.run(ALICE, Priority.ENTRY, lambda: served.append("entry")) for _ in range(5)),
    )
    await asyncio.gather(*tasks)
    assert served.index("liquidation") < len(served) - 1
    assert served[0] == "first"


async def test_accounts_do_not_wait_for_each_other_and_errors_reach_their_caller() -> None:
    queues = AccountQueues(waiting_max=10)

    def fail() -> int:
        raise ValueError("broken turn")

    results = await asyncio.gather(
        queues.run(ALICE, Priority.ENTRY, fail),
        queues.run(BOB, Priority.ENTRY, lambda: 2),
        queues.run(ALICE, Priority.ENTRY, lambda: 3),
        return_exceptions=True,
    )
    assert isinstance(results[0], ValueError)
    assert results[1:] == [2, 3]
    assert queues.statistics().turns == 3
    assert queues.statistics().waiting == 0


async def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    queues = AccountQueues(waiting_max=2)
    results = await asyncio.gather(
        *(queues.run(ALICE, Priority.ENTRY, partial(int, number)) for number in range(3)),
        return_exceptions=True,
    )
    assert results[:2] == [0, 1]
    assert isinstance(results[2], asyncio.QueueFull)


async def test_a_cancelled_turn_is_dropped() -> None:
    queues = AccountQueues(waiting_max=10)
    ran: list[str] = []
    kept = asyncio.ensure_future(queues.run(ALICE, Priority.ENTRY, lambda: ran.append("kept")))
    dropped = asyncio.ensure_future(queues.run(ALICE, Priority.ENTRY, lambda: ran.append("dropped")))
    await asyncio.sleep(0)
    dropped.cancel()
    await kept
    with pytest.raises(asyncio.CancelledError):
        await dropped
    for _ in range(3):
        await asyncio.sleep(0)
    assert ran == ["kept"]
