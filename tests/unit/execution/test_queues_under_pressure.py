"""The account queues when they are full, and when a caller leaves in the wrong moment."""

import asyncio
from functools import partial

import pytest

from pms.execution.queues import AccountQueues
from pms.model.ids import SubAccountId
from pms.model.order import Priority

ALICE = SubAccountId("a")


async def test_a_full_queue_still_takes_liquidations_and_closes() -> None:
    queues = AccountQueues(waiting_max=2)
    served: list[str] = []
    results = await asyncio.gather(
        *(queues.run(ALICE, Priority.ENTRY, partial(served.append, "entry")) for _ in range(3)),
        queues.run(ALICE, Priority.LIQUIDATION, partial(served.append, "liquidation")),
        queues.run(ALICE, Priority.USER_CLOSE, partial(served.append, "close")),
        return_exceptions=True,
    )
    assert isinstance(results[2], asyncio.QueueFull)
    assert served == ["liquidation", "close", "entry", "entry"]


async def test_what_a_turn_made_for_a_caller_that_left_is_undone() -> None:
    queues = AccountQueues(waiting_max=2)
    reserved: list[str] = []

    def reserve() -> str:
        reserved.append("margin")
        # The caller is cancelled after its turn, before it could take the result.
        asyncio.get_running_loop().call_soon(caller.cancel)
        return "margin"

    caller = asyncio.ensure_future(queues.run(ALICE, Priority.ENTRY, reserve, undo=reserved.remove))
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert reserved == []
