"""The audit finds, and names, whatever was altered, removed or added by hand."""

from dataclasses import replace
from decimal import Decimal

import pytest

from pms.ledger.api import Actor, PoolShare
from pms.ledger.audit import AuditReport, ExchangeFigures, ExchangePosition, audit
from pms.ledger.checkpoints import Checkpointer
from pms.ledger.databases import open_store
from pms.ledger.errors import DatabaseUnavailableError
from pms.ledger.ledger import LedgerService
from pms.model.event import JsonValue
from pms.model.income import FundingKey, FundingRate, Income
from pms.model.liquidation import LiquidationState
from pms.model.money import Money, Price, Quantity
from pms.model.order import ExchangeOrderStatus, OrderCode, OrderSide
from pms.model.symbol import Symbol
from tests.support.ledger import ACTOR, BTC, ETH, START_MS, Desk, ManualClock, money, opened


async def busy_desk(ledger: LedgerService) -> None:
    """Something of everything: opens, flip, partial close, owed, foreign and late fills, transfers,
    funding."""
    desk = Desk(ledger)
    first, second, poor = await desk.account("A"), await desk.account("B"), await desk.account("C", "5")
    await desk.buy(first.id, "0.5", "100", "0.02")
    await desk.sell(second.id, "0.3", "101", "0.02")
    await desk.sell(first.id, "0.8", "110", "0.04")
    await desk.trade_at(first.id, OrderSide.BUY, "0.1", "105", "0.01", reduce_only=True, action="CLOSE")
    await desk.trade_at(poor.id, OrderSide.BUY, "1", "2000", symbol=ETH)
    await desk.trade_at(
        poor.id, OrderSide.SELL, "2", "1900", symbol=ETH, reduce_only=True, action="LIQUIDATE"
    )
    told: dict[str, JsonValue] = {"tier": 2, "symbol": ETH, "fraction": 0.3, "marginRatio": 0.91}
    await ledger.begin_liquidation(first.id, "ADL_TIER2", Decimal("0.91"), {}, "adl_triggered", told)
    await ledger.end_liquidation(first.id, LiquidationState.RELEASED)
    in_bnb = replace(desk.foreign(OrderSide.BUY, "104", "0.2"), fee=Decimal("0.00002"), fee_asset="BNB")
    await desk.book(in_bnb, "0.01")
    await desk.book(desk.foreign(OrderSide.SELL, "104", "0.7"), "0.01")
    await ledger.withdraw(second.id, money("10"), ACTOR)
    key = FundingKey(BTC, START_MS + 1)
    await ledger.book_funding(FundingRate(key, Decimal("0.0001"), Price(Decimal(104))))
    await ledger.book_income(
        Income("FUNDING_FEE", "1", "BTCUSDT", BTC, "USDT", Decimal("0.003"), START_MS + 1)
    )
    await move_inside(desk)
    resting = await desk.order(first.id, OrderSide.BUY, "1", price="90")
    await ledger.record_terminal(resting.client_order_id, ExchangeOrderStatus.CANCELLED, Quantity(Decimal(0)))


async def move_inside(desk: Desk) -> None:
    """What no execution explains: netting, takeover, assignment, cash by hand, a write-off."""
    ledger = desk.ledger
    long, short, flat = [await desk.account(name, "500") for name in ("L", "S", "F")]
    opened_by = [await desk.buy(long.id, "2", "100"), await desk.sell(short.id, "3", "100")]
    both = [booked.committed.positions[0].id for booked in opened_by]
    await ledger.net_internally([(one, Decimal(1)) for one in both], Price(Decimal(101)), "CLOSE", "n-1")
    await ledger.take_over(both[1], Actor("SYSTEM_LIQ", "system"), Price(Decimal(350)))
    await ledger.assign_from_house(BTC, flat.id, Decimal(1), Price(Decimal(340)), Decimal(5), ACTOR)
    await ledger.mark_liquidated(short.id)
    await ledger.transfer_between(flat.id, long.id, money("20"), ACTOR)
    await ledger.set_balance(long.id, money("700"), ACTOR)
    await ledger.reset_account(short.id, ACTOR)
    await ledger.set_house_limit(BTC, money("1000"), ACTOR)
    await close_pooled(desk)


async def close_pooled(desk: Desk) -> None:
    """One order of the house closes for two, and one part of its fill is passed on."""
    shares = []
    for name in ("P", "Q"):
        booked = await desk.buy((await desk.account(name, "500")).id, "1", "100")
        position = booked.committed.positions[0]
        shares.append(PoolShare(position.id, position.sub_account_id, position.quantity))
    order = await desk.order(None, OrderSide.SELL, "2", code=OrderCode.HOUSE, shares=tuple(shares))
    await desk.book(desk.fill(order, "110"), "0.05")
    await desk.ledger.allocate_pool(order.client_order_id, 1)


@pytest.fixture
async def audited(database_url: str) -> str:
    """The URL of a database with a history, its ledger closed."""
    clock = ManualClock()
    ledger = await opened(database_url, clock=clock, liquidation_fee_rate="0.01")
    await ledger.adopt_wallet(money("100000"), "epoch-1")
    await busy_desk(ledger)
    clock.advance(24 * 3_600_000)
    await Checkpointer(ledger, clock).close_days()
    await ledger.close()
    return database_url


async def tamper(url: str, sql: str) -> None:
    store = await open_store(url)
    await store.write([(sql, ())])
    await store.close()


def named(report: AuditReport) -> set[str]:
    return {row for check in report.checks for row, _ in check.failures}


async def test_a_healthy_history_passes_and_says_what_it_skipped(audited: str) -> None:
    report = await audit(audited)
    assert report.passed, "\n".join(report.lines())
    assert [check.name for check in report.checks if check.skipped] == ["netting: exchange"]
    counted = {check.name: check.counted for check in report.checks}
    assert min(count for name, count in counted.items() if name != "netting: exchange") > 0


async def test_the_exchange_is_compared_when_given(audited: str) -> None:
    ledger = await opened(audited)
    wallet = ledger.derived_wallet()
    rows = await ledger.store.fetch("SELECT symbol, signed_quantity, signed_cost FROM pms_exchange_positions")
    await ledger.close()
    held = {Symbol(str(row["symbol"])): Decimal(str(row["signed_quantity"])) for row in rows}
    costs = {Symbol(str(row["symbol"])): Decimal(str(row["signed_cost"])) for row in rows}
    positions = {
        symbol: ExchangePosition(quantity, costs[symbol] / quantity)
        for symbol, quantity in held.items()
        if quantity
    }
    right = await audit(audited, exchange=ExchangeFigures(wallet, positions))
    assert right.passed, "\n".join(right.lines())
    assert not any(check.skipped for check in right.checks)
    # The same executions in another order realise another part of the profit: wallet and cost move together.
    (symbol, one) = next(iter(positions.items()))
    shifted = ExchangePosition(one.signed_quantity, one.entry_price + 1)
    moved = ExchangeFigures(Money(wallet + one.signed_quantity), {**positions, symbol: shifted})
    assert (await audit(audited, exchange=moved)).passed
    xrp = Symbol("XRP/USDT:USDT")
    wrong = ExchangeFigures(
        Money(wallet + 1),
        {
            **positions,
            symbol: ExchangePosition(one.signed_quantity + 1, one.entry_price),
            xrp: ExchangePosition(Decimal(5), Decimal(1)),
        },
    )
    assert named(await audit(audited, exchange=wrong)) == {"test-exchange", symbol, xrp}


ALTERATIONS = [
    ("sub_accounts", "id", "current_balance", "current_balance + 1"),
    ("pms_account_exact", "sub_account_id", "balance", "1234.5"),
    ("pms_fills", "id", "quantity", "0.35"),
    ("pms_fills", "id", "price", "99"),
    ("pms_fill_allocations", "fill_id", "quantity", "0.35"),
    ("pms_fill_allocations", "fill_id", "sub_account_id", "'x'"),
    ("virtual_positions", "id", "quantity", "quantity * 2"),
    ("virtual_positions", "id", "status", "'TAKEN_OVER'"),
    ("pms_position_exact", "position_id", "cost", "1"),
    ("pms_house_lines", "id", "cash", "7"),
    ("pms_house_lines", "id", "signed_quantity", "7"),
    ("pms_owed", "sub_account_id", "amount", "1"),
    ("balance_logs", "id", "balance_after", "balance_after + 1"),
    ("trade_executions", "id", "fee", "3"),
    ("pms_journal_lines", "entry_id", "amount", "3"),
    ("pms_order_journal", "client_order_id", "booked_quantity", "3"),
    ("pms_checkpoints", "day", "last_link", "3"),
    ("pms_house_limits", "symbol", "notional_max", "7"),
]
"""One column of one row each: table, its key, the column, the forged value."""


async def test_one_altered_row_is_named(audited: str) -> None:
    store = await open_store(audited)
    for table, key, column, forged in ALTERATIONS:
        where = f"{key} = ?" + (
            " AND number = 0" if table in ("pms_fill_allocations", "pms_journal_lines") else ""
        )
        row = (await store.fetch(f"SELECT {key} AS k FROM {table} ORDER BY {key} LIMIT 1"))[0]["k"]
        value = (await store.fetch(f"SELECT {column} AS v FROM {table} WHERE {where}", row))[0]["v"]
        await store.write([(f"UPDATE {table} SET {column} = {forged} WHERE {where}", (row,))])
        report = await audit(audited)
        names = [name for name in named(report) if name.startswith(f"{table}/") and str(row) in name]
        assert names, (table, column, report.lines())
        await store.write([(f"UPDATE {table} SET {column} = ? WHERE {where}", (value, row))])
    report = await audit(audited)
    assert report.passed, report.lines()
    await store.close()


async def test_removed_and_added_rows_are_named(audited: str) -> None:
    await tamper(audited, "DELETE FROM pms_house_lines WHERE kind = 'LATE_FILL'")
    await tamper(
        audited,
        "INSERT INTO pms_owed_lines"
        " (exchange_account_id, id, sub_account_id, amount, reason, timestamp, link)"
        " SELECT exchange_account_id, 'forged', sub_account_id, amount, reason, timestamp, link"
        " FROM pms_owed_lines LIMIT 1",
    )
    report = await audit(audited)
    texts = [text for check in report.checks for _, text in check.failures]
    assert "pms_owed_lines/forged" in named(report)
    assert any(text.startswith("was removed after commit") for text in texts)


async def test_a_rewritten_link_and_a_gap_in_events_are_found(audited: str) -> None:
    await tamper(audited, "UPDATE pms_commit_links SET entries = '' WHERE link = 5")
    await tamper(audited, "DELETE FROM pms_commit_links WHERE link = 7")
    await tamper(audited, "DELETE FROM pms_outbox WHERE sequence = 2")
    report = await audit(audited)
    failed = {check.name for check in report.checks if not check.passed}
    assert {"hash chain: links", "durable events: sequences"} <= failed
    assert "pms_commit_links/5" in named(report)


async def test_unsettled_orders_are_notes_not_failures(audited: str) -> None:
    ledger = await opened(audited, clock=ManualClock(), seed=99)
    desk = Desk(ledger, trade=1000)
    order = await desk.order(ledger.accounts()[0].id, OrderSide.BUY, "1")
    await ledger.record_terminal(order.client_order_id, ExchangeOrderStatus.FILLED, order.quantity)
    await ledger.close()
    report = await audit(audited)
    assert report.passed, report.lines()
    notes = [note for check in report.checks for note in check.notes if "waits for fills" in note]
    assert len(notes) == 1


async def test_no_database_is_one_clear_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = tmp_path_factory.mktemp("none") / "pms.db"
    with pytest.raises(DatabaseUnavailableError, match="no database"):
        await audit(f"sqlite:///{missing}")
    assert not missing.exists()


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("UPDATE pms_pools SET allocated = 2", "pms_pools/"),
        ("UPDATE pms_pool_shares SET quantity = 3 WHERE number = 1", "pms_pools/"),
        ("UPDATE pms_pool_fills SET price = 111", "pms_pool_fills/"),
    ],
)
async def test_a_pool_that_was_altered_is_found(audited: str, sql: str, row: str) -> None:
    await tamper(audited, sql)
    (check,) = [one for one in (await audit(audited)).checks if one.name == "orders: pools"]
    assert [name for name, _ in check.failures if name.startswith(row)], check.failures
