"""Funding and income in the ledger: who pays for what he held when, exactly once, whatever comes late."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from pms.ledger.api import Committed, HouseLineKind
from pms.ledger.audit import audit
from pms.ledger.errors import InvalidAmountError
from pms.ledger.ledger import LedgerService
from pms.ledger.operations import funding as operations
from pms.model.account import AccountStatus
from pms.model.fill import ExchangeFill
from pms.model.ids import SubAccountId
from pms.model.income import FundingKey, FundingRate, FundingType, Income
from pms.model.money import Price
from pms.model.order import OrderSide
from tests.support.ledger import BTC, ETH, START_MS, Desk, ManualClock, money, opened

D = Decimal
HOUR_MS = 3_600_000
FUNDING_MS = START_MS + 8 * HOUR_MS
RATE = D("0.0001")


def funding(
    time_ms: int = FUNDING_MS,
    rate: str = "0.0001",
    mark: str = "60000",
    type_: FundingType = FundingType.REGULAR,
) -> FundingRate:
    return FundingRate(FundingKey(BTC, time_ms, type_), D(rate), Price(D(mark)))


def line(amount: str, type_: str = "FUNDING_FEE", number: int = 1, time_ms: int = FUNDING_MS) -> Income:
    symbol = BTC if type_ == "FUNDING_FEE" else None
    return Income(type_, str(number), "BTCUSDT" if symbol else "", symbol, "USDT", D(amount), time_ms)


async def filled(
    desk: Desk, owner: SubAccountId | None, quantity: str, time_ms: int, price: str = "60000"
) -> ExchangeFill:
    """The fill of a market order of signed quantity, made by the exchange at that time; not booked yet."""
    size = D(quantity)
    order = await desk.order(owner, OrderSide.BUY if size > 0 else OrderSide.SELL, str(abs(size)))
    return replace(desk.fill(order, price), trade_time_ms=time_ms)


async def hold(desk: Desk, owner: SubAccountId, quantity: str, time_ms: int = START_MS) -> None:
    await desk.book(await filled(desk, owner, quantity, time_ms))


def balance(ledger: LedgerService, account: SubAccountId) -> Decimal:
    found = ledger.account(account)
    assert found is not None
    return found.cash


async def proved(url: str, ledger: LedgerService) -> list[str]:
    """Every identity of the books holds; returns the report."""
    report = await audit(url)
    assert report.passed, "\n".join(report.lines())
    return report.lines()


async def test_longs_pay_shorts_receive_and_the_exchanges_own_funding_leaves_no_residue(
    database_url: str, ledger: LedgerService, desk: Desk
) -> None:
    long, short = (await desk.account("long")).id, (await desk.account("short")).id
    await hold(desk, long, "0.150")
    await hold(desk, short, "-0.050")
    wallet = ledger.derived_wallet()

    booked = await ledger.book_funding(funding())
    assert (booked.duplicate, booked.accounts, booked.amount) == (False, 2, D("-0.6"))
    assert balance(ledger, long) == 1000 - D("0.9")
    assert balance(ledger, short) == 1000 + D("0.3")
    logs = await ledger.queries.balance_logs(long, 1)
    assert (logs[0].reason, logs[0].change_amount) == ("FUNDING", D("-0.9"))
    events = await ledger.queries.events_after(long, 0)
    assert events[-1].type == "account_updated"
    assert events[-1].data["balance"] == 999.1
    assert ledger.derived_wallet() == wallet, "between accounts and house only"

    assert await ledger.book_income(line("-0.6"))
    assert ledger.derived_wallet() == wallet - D("0.6"), "the exchange took it from the wallet"
    (told,) = await ledger.queries.fundings(0)
    assert (told.time_ms, told.holders, told.exchange, told.accounts, told.residue) == (
        FUNDING_MS,
        2,
        D("-0.6"),
        D("-0.6"),
        0,
    )
    await proved(database_url, ledger)


async def test_a_funding_with_a_flat_net_moves_money_between_opposite_holders(
    database_url: str, ledger: LedgerService, desk: Desk
) -> None:
    long, short = (await desk.account("long")).id, (await desk.account("short")).id
    await hold(desk, long, "0.2")
    await hold(desk, short, "-0.2")
    house = ledger.house_cash()
    booked = await ledger.book_funding(funding())
    assert (booked.accounts, booked.amount) == (2, 0)
    assert (balance(ledger, long), balance(ledger, short)) == (D("998.8"), D("1001.2"))
    assert ledger.house_cash() == house
    await proved(database_url, ledger)


@pytest.mark.parametrize(
    ("millisecond", "paid"), [(-1, D("-0.6")), (0, D(0)), (1, D(0))], ids=["before", "at", "after"]
)
async def test_a_fill_in_the_same_second_counts_by_its_millisecond(
    database_url: str, ledger: LedgerService, desk: Desk, millisecond: int, paid: Decimal
) -> None:
    account = (await desk.account()).id
    await hold(desk, account, "0.1", FUNDING_MS + millisecond)
    await ledger.book_funding(funding())
    assert balance(ledger, account) == 1000 + paid
    await proved(database_url, ledger)


async def test_a_position_closed_after_the_funding_pays_and_one_opened_after_it_does_not(
    database_url: str, ledger: LedgerService, desk: Desk
) -> None:
    left, came, turned = [(await desk.account(name)).id for name in ("left", "came", "turned")]
    await hold(desk, left, "0.1")
    await hold(desk, turned, "0.1")
    await hold(desk, left, "-0.1", FUNDING_MS + 5)
    await hold(desk, came, "0.3", FUNDING_MS + 5)
    await hold(desk, turned, "-0.3", FUNDING_MS + 6)
    booked = await ledger.book_funding(funding())
    assert booked.accounts == 2
    assert [balance(ledger, each) for each in (left, came, turned)] == [D("999.4"), D(1000), D("999.4")]
    await proved(database_url, ledger)


async def test_a_late_fill_corrects_what_was_booked_without_it_in_its_own_transaction(
    database_url: str, ledger: LedgerService, desk: Desk
) -> None:
    first, second = (await desk.account("first")).id, (await desk.account("second")).id
    await hold(desk, first, "0.1")
    late = await filled(desk, first, "0.2", FUNDING_MS - 1)
    closing = await filled(desk, first, "-0.05", FUNDING_MS - 1)
    other = await filled(desk, second, "-0.1", FUNDING_MS + HOUR_MS)
    for moment in (FUNDING_MS, FUNDING_MS + 8 * HOUR_MS):
        await ledger.book_funding(funding(moment))
    assert balance(ledger, first) == 1000 - D("1.2")

    await asyncio.gather(*(desk.book(each) for each in (late, closing, other)))
    assert balance(ledger, first) == 1000 - 2 * D("0.25") * 60000 * RATE
    assert balance(ledger, second) == 1000 + D("0.6"), "only the later of the two fundings was his"
    assert (await desk.book(late)).duplicate
    assert balance(ledger, first) == 997
    rows = await ledger.store.fetch(
        "SELECT number, signed_quantity, amount FROM pms_funding_payments WHERE sub_account_id = ?"
        " AND funding_time = ? ORDER BY number",
        first,
        FUNDING_MS,
    )
    assert [(int(str(r["number"])), D(str(r["signed_quantity"])), D(str(r["amount"]))) for r in rows] == [
        (0, D("0.1"), D("-0.6")),
        (1, D("0.2"), D("-1.2")),
        (2, D("-0.05"), D("0.3")),
    ]
    await proved(database_url, ledger)


async def test_fundings_and_fills_submitted_together_settle_on_what_the_trade_times_say(
    database_url: str, ledger: LedgerService, desk: Desk
) -> None:
    account = (await desk.account()).id
    times = [FUNDING_MS - 2, FUNDING_MS + 1, FUNDING_MS - 1, FUNDING_MS + 2]
    fills = [await filled(desk, account, "0.1", moment) for moment in times]
    twice = await asyncio.gather(
        desk.book(fills[0]),
        ledger.book_funding(funding()),
        desk.book(fills[1]),
        desk.book(fills[2]),
        ledger.book_funding(funding()),
        desk.book(fills[3]),
    )
    assert [twice[1], twice[4]].count(twice[1]) == 1
    assert balance(ledger, account) == 1000 - D("1.2"), "0.2 were held at the moment"
    await proved(database_url, ledger)


async def test_the_same_funding_books_once_and_a_special_one_beside_it_once_more(
    database_url: str, ledger: LedgerService, desk: Desk, clock: ManualClock
) -> None:
    account = (await desk.account()).id
    await hold(desk, account, "0.1")
    results = await asyncio.gather(*(ledger.book_funding(funding()) for _ in range(3)))
    assert [each.duplicate for each in results] == [False, True, True]
    special = funding(rate="-0.001", type_=FundingType.SPECIAL)
    assert not (await ledger.book_funding(special)).duplicate
    await ledger.close()
    again = await opened(database_url, clock=clock, seed=8)
    try:
        assert again.last_funding_ms(BTC) == FUNDING_MS
        assert (await again.book_funding(funding())).duplicate
        assert (await again.book_funding(special)).duplicate
        assert balance(again, account) == 1000 - D("0.6") + 6
        await proved(database_url, again)
    finally:
        await again.close()


async def test_an_account_that_cannot_pay_owes_and_a_liquidated_one_pays_for_its_time(
    database_url: str, ledger: LedgerService, desk: Desk
) -> None:
    poor, gone = (await desk.account("poor", "0.5")).id, (await desk.account("gone")).id
    await hold(desk, poor, "0.1")
    await hold(desk, gone, "0.1")
    await hold(desk, gone, "-0.1", FUNDING_MS + 1)
    await ledger.mark_liquidated(gone)
    await ledger.book_funding(funding())
    account = ledger.account(poor)
    assert account is not None
    assert (account.balance, account.owed) == (0, D("0.1"))
    liquidated = ledger.account(gone)
    assert liquidated is not None
    assert (liquidated.status, liquidated.cash) == (AccountStatus.LIQUIDATED, D("999.4"))
    await ledger.book_funding(funding(FUNDING_MS + 8 * HOUR_MS, rate="-0.0001"))
    account = ledger.account(poor)
    assert account is not None
    assert (account.balance, account.owed) == (D("0.5"), 0), "a credit repays what is owed first"
    await proved(database_url, ledger)


async def test_the_houses_own_position_is_the_residue(
    database_url: str, ledger: LedgerService, desk: Desk
) -> None:
    account = (await desk.account()).id
    await hold(desk, account, "0.1")
    await desk.book(desk.foreign(OrderSide.BUY, "60000", "0.4"))
    await ledger.book_funding(funding())
    await ledger.book_income(line("-3"))
    (told,) = await ledger.queries.fundings(0)
    assert (told.exchange, told.accounts, told.residue) == (-3, D("-0.6"), D("-2.4"))
    notes = await proved(database_url, ledger)
    assert any("exchange -3, accounts -0.6, house -2.4" in note for note in notes)


async def test_a_transfer_counts_from_when_it_was_booked_and_never_before_a_booked_funding(
    database_url: str, ledger: LedgerService, desk: Desk, clock: ManualClock
) -> None:
    account = (await desk.account()).id
    await hold(desk, account, "0.1")
    position = ledger.open_position(account, BTC)
    assert position is not None
    await ledger.book_funding(funding())  # the ledger's own clock is still hours behind that moment
    await ledger.transfer_to_house(position.id, D("0.05"), Price(D(60000)), HouseLineKind.DUST, "DUST")
    clock.advance(9 * HOUR_MS)
    await ledger.transfer_to_house(position.id, D("0.05"), Price(D(60000)), HouseLineKind.DUST, "DUST")
    clock.advance(9 * HOUR_MS)
    await ledger.book_funding(funding(FUNDING_MS + HOUR_MS))
    assert balance(ledger, account) == 1000 - D("0.6") - D("0.3")
    await proved(database_url, ledger)


async def test_many_holders_are_paid_in_parts_and_a_crash_between_them_is_made_good(
    database_url: str, ledger: LedgerService, desk: Desk, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "ACCOUNTS_AT_ONCE", 2)
    accounts = [(await desk.account(f"a{number}")).id for number in range(5)]
    for each in accounts:
        await hold(desk, each, "0.1")
    late = await filled(desk, sorted(accounts)[0], "0.1", FUNDING_MS - 1)
    task = asyncio.create_task(ledger.book_funding(funding()))

    def stop(_: Committed) -> None:
        task.cancel()  # two are paid

    ledger.on_commit(stop)
    await asyncio.wait([task])
    await ledger.close()
    again = await opened(database_url, clock=clock, seed=8)
    try:
        assert again.last_funding_ms(BTC) == 0
        assert any("is paid in part" in row for row in await proved(database_url, again))
        await again.book_fill(late, money("0"))
        booked = await again.book_funding(funding())
        assert not booked.duplicate
        expected = {each: D("999.4") for each in accounts} | {sorted(accounts)[0]: D("998.8")}
        assert {each: balance(again, each) for each in accounts} == expected
        await proved(database_url, again)
    finally:
        await again.close()


KINDS = {
    "FUNDING_FEE": "FUNDING",
    "SPECIAL_FUNDING_FEE": "FUNDING",
    "TRANSFER": "CAPITAL",
    "COIN_SWAP_WITHDRAW": "CAPITAL",
    "INSURANCE_CLEAR": "INSURANCE",
    "COMMISSION_REBATE": "INCOME",
    "SOMETHING_NEW": "INCOME",
    "REALIZED_PNL": None,
    "COMMISSION": None,
    "DELIVERED_SETTELMENT": None,
}


async def test_income_posts_to_the_house_once_unless_an_execution_explains_it(
    database_url: str, ledger: LedgerService
) -> None:
    for type_, kind in KINDS.items():
        house, wallet = ledger.house_cash(), ledger.derived_wallet()
        results = await asyncio.gather(*(ledger.book_income(line("-12.5", type_)) for _ in range(3)))
        assert results == [kind is not None, False, False], type_
        moved = D("-12.5") if kind else D(0)
        assert (ledger.house_cash() - house, ledger.derived_wallet() - wallet) == (moved, moved), type_
        rows = await ledger.store.fetch("SELECT kind FROM pms_house_lines WHERE reference = ?", f"{type_}:1")
        assert [row["kind"] for row in rows] == ([kind] if kind else [])
    await proved(database_url, ledger)


async def test_a_new_epoch_counts_its_income_anew(database_url: str, ledger: LedgerService) -> None:
    await ledger.book_income(line("100", "TRANSFER"))
    assert not await ledger.book_income(line("100", "TRANSFER"))
    await ledger.adopt_wallet(money("500"), "epoch-2")
    assert await ledger.book_income(line("100", "TRANSFER"))
    assert ledger.derived_wallet() == 600
    await proved(database_url, ledger)


async def test_who_held_a_symbol_and_from_when_on(ledger: LedgerService, desk: Desk) -> None:
    account = (await desk.account()).id
    assert await ledger.held_since(BTC, START_MS) is None
    await hold(desk, account, "0.1", START_MS + 10)
    assert await ledger.held_since(BTC, START_MS) == START_MS + 10
    assert await ledger.held_since(BTC, START_MS + 11) == START_MS + 11
    assert await ledger.held_since(ETH, START_MS) is None
    await hold(desk, account, "-0.1", START_MS + 20)
    assert await ledger.held_since(BTC, START_MS + 15) == START_MS + 15
    assert await ledger.held_since(BTC, START_MS + 21) is None


async def test_a_watermark_survives_and_may_be_forgotten(
    database_url: str, ledger: LedgerService, clock: ManualClock
) -> None:
    for moment in (5, 9, 9, 7):
        await ledger.set_watermark("income", moment)
    await ledger.close()
    again = await opened(database_url, clock=clock, seed=8)
    try:
        assert (again.watermark("income"), again.watermark("other")) == (7, 0)
        await again.set_watermark("income", 0)
        assert again.watermark("income") == 0
        await proved(database_url, again)
    finally:
        await again.close()


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("UPDATE pms_funding_payments SET amount = '-0.5'", "funding: payments"),
        ("DELETE FROM pms_funding_payments", "funding: payments"),
        ("UPDATE pms_income SET amount = '-0.5'", "funding: house and exchange"),
        ("UPDATE pms_house_lines SET cash = '0' WHERE kind = 'FUNDING'", "funding: house and exchange"),
    ],
)
async def test_the_audit_finds_what_was_changed_by_hand(
    database_url: str, ledger: LedgerService, desk: Desk, sql: str, told: str
) -> None:
    account = (await desk.account()).id
    await hold(desk, account, "0.1")
    await ledger.book_funding(funding())
    await ledger.book_income(line("-0.6"))
    await proved(database_url, ledger)
    await ledger.store.write([(sql, ())])
    report = await audit(database_url)
    assert told in [check.name for check in report.checks if not check.passed]


async def test_amounts_that_are_no_money_are_refused(ledger: LedgerService) -> None:
    for bad in (funding(mark="0"), funding(rate="NaN")):
        with pytest.raises(InvalidAmountError):
            await ledger.book_funding(bad)
    with pytest.raises(InvalidAmountError):
        await ledger.book_income(line("Infinity"))
