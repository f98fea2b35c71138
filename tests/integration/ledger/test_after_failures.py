"""After any failure of any operation the book equals the database, and nothing of the operation is in it.

Each operation is run three times: the database refuses its commit; its commit happens but the answer is lost;
its first statement meets a row that somebody else changed.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

import pytest

from pms.ledger.api import Actor, HouseLineKind
from pms.ledger.audit import audit
from pms.ledger.book import Book, Overlay
from pms.ledger.errors import CommitUnknownError, DatabaseFullError, ExternalWriteError, FenceLostError
from pms.ledger.ledger import LedgerService
from pms.ledger.load import load_book
from pms.ledger.statements import Batch
from pms.ledger.store import FenceGuard
from pms.model.account import RiskRules, SubAccount
from pms.model.ids import PositionId
from pms.model.money import Price
from pms.model.order import OrderSide
from tests.support.ledger import ACTOR, BTC, ETH, EXCHANGE, Desk, money

SYSTEM = Actor("SYSTEM_LIQ", "system")
PRICE = Price(Decimal(95))


@dataclass
class Scene:
    """Two accounts with opposite positions, one flat account, one that owes, and a house that holds."""

    desk: Desk
    long: SubAccount
    short: SubAccount
    flat: SubAccount
    owing: SubAccount

    @property
    def ledger(self) -> LedgerService:
        return self.desk.ledger

    def position(self, account: SubAccount) -> PositionId:
        found = self.ledger.open_position(account.id, BTC)
        assert found is not None
        return found.id


async def set_up(desk: Desk) -> Scene:
    long, short, flat, owing = [await desk.account(name, "1000") for name in ("L", "S", "F", "O")]
    await desk.buy(owing.id, "10", "200")
    await desk.trade_at(owing.id, OrderSide.SELL, "10", "50", reduce_only=True, action="CLOSE")
    await desk.buy(long.id, "2", "100")
    await desk.sell(short.id, "2", "100")
    await desk.trade_at(None, OrderSide.BUY, "2", "100", symbol=ETH)
    return Scene(desk, long, short, flat, owing)


Operation = Callable[[Scene], Awaitable[object]]


async def _reduce(scene: Scene, action: str, quantity: str) -> object:
    return await scene.desk.trade_at(
        scene.long.id, OrderSide.SELL, quantity, "90", "0.1", reduce_only=True, action=action
    )


def _transfer(scene: Scene, action: str) -> Awaitable[object]:
    kind = HouseLineKind.NETTING_DIFFERENCE
    return scene.ledger.transfer_to_house(scene.position(scene.long), Decimal(1), PRICE, kind, action)


def _net(scene: Scene) -> Awaitable[object]:
    closes = [(scene.position(scene.long), Decimal(2)), (scene.position(scene.short), Decimal(1))]
    return scene.ledger.net_internally(closes, PRICE, "CLOSE")


OPERATIONS: dict[str, Operation] = {
    "open": lambda scene: scene.desk.buy(scene.flat.id, "1", "100", "0.1"),
    "add": lambda scene: scene.desk.buy(scene.long.id, "1", "110", "0.1"),
    "flip": lambda scene: scene.desk.sell(scene.long.id, "3", "90", "0.1"),
    "close": lambda scene: _reduce(scene, "CLOSE", "2"),
    "partial close": lambda scene: _reduce(scene, "CLOSE", "0.5"),
    "limit close": lambda scene: _reduce(scene, "LIMIT_CLOSE", "2"),
    "liquidate": lambda scene: _reduce(scene, "LIQUIDATE", "2"),
    "ADL step": lambda scene: _reduce(scene, "ADL_TIER2", "0.6"),
    "foreign fill": lambda scene: scene.desk.book(scene.desk.foreign(OrderSide.SELL, "90", "1"), "0.1"),
    "takeover": lambda scene: scene.ledger.take_over(scene.position(scene.long), SYSTEM, PRICE),
    "reconcile": lambda scene: _transfer(scene, "RECONCILE"),
    "desync close": lambda scene: _transfer(scene, "DESYNC_CLOSE"),
    "internal netting": _net,
    "assignment": lambda scene: scene.ledger.assign_from_house(
        ETH, scene.flat.id, Decimal(1), PRICE, Decimal(5), ACTOR
    ),
    "deposit": lambda scene: scene.ledger.deposit(scene.owing.id, money("5"), ACTOR),
    "withdrawal": lambda scene: scene.ledger.withdraw(scene.flat.id, money("5"), ACTOR),
    "set-balance": lambda scene: scene.ledger.set_balance(scene.owing.id, money("5"), ACTOR),
    "transfer": lambda scene: scene.ledger.transfer_between(scene.flat.id, scene.owing.id, money("5"), ACTOR),
    "reset": lambda scene: scene.ledger.reset_account(scene.owing.id, ACTOR),
    "closing an account": lambda scene: scene.ledger.close_account(scene.flat.id, ACTOR),
    "write-off": lambda scene: scene.ledger.write_off(scene.owing.id, ACTOR),
    "liquidated": lambda scene: scene.ledger.mark_liquidated(scene.owing.id),
    "rules": lambda scene: scene.ledger.set_rules(scene.flat.id, RiskRules(Decimal(3)), ACTOR),
    "house limit": lambda scene: scene.ledger.set_house_limit(BTC, money("100"), ACTOR),
}
SAME_ROW = (
    "close",
    "partial close",
    "flip",
    "liquidate",
    "ADL step",
    "takeover",
    "reconcile",
    "internal netting",
)
"""Operations on the position that a stranger changes in the third run."""


def facts(book: Book) -> dict[str, object]:
    """Everything that a book says of the database; prices of liquidation as far as a Float keeps them."""
    positions = {
        position.id: replace(position, liquidation_price=Price(round(position.liquidation_price, 8)))
        for position in book.positions.values()
    }
    return {
        "accounts": _filled(book.accounts),
        "positions": positions,
        "open": _filled(book.open_index),
        "orders": {
            record.order.client_order_id: record.order.booked_quantity for record in book.orders.values()
        },
        "net": {symbol: net for symbol, net in book.virtual_net.flat().items() if net},
        "house": _filled(book.house),
        "cash": {kind: cash for kind, cash in book.house_cash.flat().items() if cash},
        "limits": _filled(book.house_limits),
        "mirror": _filled(book.mirror),
        "rules": _filled(book.rules),
        "owed": _filled(book.owed_rows),
        "events": _filled(book.event_sequence),
        "link": (book.link, book.link_hash),
    }


_K = TypeVar("_K")
_V = TypeVar("_V")


def _filled(overlay: Overlay[_K, _V]) -> dict[_K, _V]:
    return {key: value for key, value in overlay.flat().items() if value is not None}


async def assert_book_is_database(ledger: LedgerService) -> None:
    loaded = await load_book(ledger.store, EXCHANGE)
    found, wanted = facts(ledger._book), facts(loaded.book)
    for name, value in wanted.items():
        assert found[name] == value, name


def commit_once(
    ledger: LedgerService, monkeypatch: pytest.MonkeyPatch, error: Exception, *, happens: bool
) -> None:
    """Let every commit from now on fail until `monkeypatch` is undone; with `happens`, after it was done."""
    commit = ledger.store.commit

    async def failing(guard: FenceGuard, group: Sequence[Batch]) -> None:
        if happens:
            await commit(guard, group)
        raise error

    monkeypatch.setattr(ledger.store, "commit", failing)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_operations_that_the_database_refuses_leave_no_trace(
    desk: Desk, ledger: LedgerService, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await set_up(desk)
    before = facts(ledger._book)
    for operation in OPERATIONS.values():
        with monkeypatch.context() as patch:
            commit_once(ledger, patch, DatabaseFullError("the disk is full"), happens=False)
            with pytest.raises(DatabaseFullError):
                await operation(scene)
        assert facts(ledger._book) == before
    await assert_book_is_database(ledger)
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())


async def test_an_operation_whose_answer_is_lost_is_read_again(
    desk: Desk, ledger: LedgerService, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, operation in OPERATIONS.items():
        scene = await set_up(desk)
        link = ledger._book.link
        with monkeypatch.context() as patch:
            commit_once(ledger, patch, CommitUnknownError("the answer was lost"), happens=True)
            await operation(scene)
        assert ledger._book.link > link, name
        await assert_book_is_database(ledger)
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())


async def test_a_row_that_a_stranger_closed_is_not_closed_again(desk: Desk, ledger: LedgerService) -> None:
    """H9b: the first statement is conditional, and a row that matches nothing fails the operation whole."""
    scene = await set_up(desk)
    position = scene.position(scene.long)
    cash = {account.id: account.cash for account in ledger.accounts()}
    sql = "UPDATE virtual_positions SET status = 'CLOSED' WHERE id = ?"
    await ledger.store.write([(sql, (position,))])
    for name in SAME_ROW:
        with pytest.raises(ExternalWriteError):
            await OPERATIONS[name](scene)
        await ledger.set_house_limit(None, None, ACTOR)  # whatever comes next works, on the book read again
        assert {account.id: account.cash for account in ledger.accounts()} == cash, name
    rows = await ledger.store.fetch("SELECT action FROM trade_executions WHERE position_id = ?", position)
    assert [row["action"] for row in rows] == ["OPEN"]


async def test_an_engine_that_lost_its_fence_changes_nothing(
    desk: Desk, ledger: LedgerService, database_url: str
) -> None:
    """Decision 28: every mutating transaction checks the fence, also those that write one row."""
    scene = await set_up(desk)
    await ledger.store.write([("UPDATE pms_leases SET fence = fence + 1", ())])
    before = facts((await load_book(ledger.store, EXCHANGE)).book)
    for name, operation in OPERATIONS.items():
        with pytest.raises(FenceLostError):
            await operation(scene)
        assert facts((await load_book(ledger.store, EXCHANGE)).book) == before, name
    report = await audit(database_url)
    assert report.passed, "\n".join(report.lines())
