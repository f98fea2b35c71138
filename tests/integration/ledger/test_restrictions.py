"""Restrictions in the ledger: who set what, what holds for an account, and that it outlives the process."""

import pytest

from pms.ledger.api import Committed
from pms.ledger.audit import audit
from pms.ledger.errors import AccountNotFoundError, RequestError
from pms.ledger.ledger import LedgerService
from pms.model.ids import SubAccountId
from pms.model.restriction import Restriction
from tests.support.ledger import ACTOR, Desk, ManualClock, opened

NONE, BLOCK, REDUCE, HALT, FLATTEN = Restriction


async def test_the_strongest_of_all_sources_counts(desk: Desk) -> None:
    ledger = desk.ledger
    alice, bob = (await desk.account("alice")).id, (await desk.account("bob")).id
    steps = [
        # (scope, source, level) -> (alice, bob)
        ((alice, "rule:daily_loss", BLOCK), (BLOCK, NONE)),
        ((None, "operator", REDUCE), (REDUCE, REDUCE)),
        ((alice, "operator", FLATTEN), (FLATTEN, REDUCE)),
        ((None, "exchange", HALT), (FLATTEN, HALT)),
        ((alice, "operator", NONE), (HALT, HALT)),
        ((None, "exchange", NONE), (REDUCE, REDUCE)),
        ((None, "operator", NONE), (BLOCK, NONE)),
        ((alice, "rule:daily_loss", NONE), (NONE, NONE)),
    ]
    for (scope, source, level), wanted in steps:
        await ledger.set_restriction(scope, source, level, "because", ACTOR)
        assert (ledger.restriction_of(alice), ledger.restriction_of(bob)) == wanted
    assert list(ledger.restrictions()) == []


async def test_every_account_concerned_hears_of_it_once(desk: Desk) -> None:
    ledger = desk.ledger
    alice, bob = (await desk.account("alice")).id, (await desk.account("bob")).id
    heard: list[Committed] = []
    ledger.on_commit(heard.append)
    await ledger.set_restriction(None, "operator", HALT, "exchange trouble", ACTOR)
    await ledger.set_restriction(None, "operator", HALT, "exchange trouble", ACTOR)  # nothing new
    await ledger.set_restriction(bob, "rule:order_rate", BLOCK, "61 orders", ACTOR)
    events = [event for committed in heard for event in committed.events]
    assert [(event.type, event.sub_account_id, event.data["level"]) for event in events] == [
        ("restriction_updated", alice, "HALT"),
        ("restriction_updated", bob, "HALT"),
        ("restriction_updated", bob, "HALT"),
    ]
    assert events[2].data == {
        "subAccountId": bob,
        "level": "HALT",
        "scope": "account",
        "source": "rule:order_rate",
        "sourceLevel": "BLOCK_ENTRIES",
        "reason": "61 orders",
    }
    changed = [entry for committed in heard for entry in committed.restrictions]
    assert [(entry.sub_account_id, entry.level) for entry in changed] == [(None, HALT), (bob, BLOCK)]


async def test_restrictions_survive_a_restart_and_the_audit_covers_them(
    database_url: str, ledger: LedgerService, clock: ManualClock
) -> None:
    alice = (await Desk(ledger).account("alice")).id
    await ledger.set_restriction(None, "operator", REDUCE, "maintenance", ACTOR)
    await ledger.set_restriction(alice, "rule:trailing_drawdown", FLATTEN, "12 % below the peak", ACTOR)
    clock.advance(1000)
    await ledger.set_restriction(None, "operator", NONE, "done", ACTOR)
    before = list(ledger.restrictions())
    await ledger.close()
    again = await opened(database_url, clock=clock, seed=8)
    assert list(again.restrictions()) == before
    assert again.restriction_of(alice) is FLATTEN
    # Released by the process before, set again by this one: the row exists.
    await again.set_restriction(None, "operator", HALT, "again", ACTOR)
    actions = [row.action for row in await again.queries.actions(100)]
    await again.close()
    assert actions.count("restriction.set") == 4
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())


async def test_a_restriction_of_nobody_or_from_nowhere_is_refused(desk: Desk) -> None:
    alice = (await desk.account("alice")).id
    with pytest.raises(AccountNotFoundError):
        await desk.ledger.set_restriction(SubAccountId("nobody"), "operator", HALT, "", ACTOR)
    for source in ("", "rule:", "admin", "rule:Daily", "rule:x\ny"):
        with pytest.raises(RequestError, match="comes from"):
            await desk.ledger.set_restriction(alice, source, HALT, "", ACTOR)
    with pytest.raises(RequestError, match="500 characters"):
        await desk.ledger.set_restriction(alice, "operator", HALT, "x" * 501, ACTOR)
    assert list(desk.ledger.restrictions()) == []
