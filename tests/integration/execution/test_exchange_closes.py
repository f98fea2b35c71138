"""The exchange closes what the real account holds: liquidation, deleveraging, the end of a contract
(decision 11)."""

from decimal import Decimal
from pathlib import Path

import pytest

from pms.engine import EMBEDDED_KEY
from pms.execution.api import Executed, Resting
from pms.model.refusal import RefusalCode, Refused
from pms.model.restriction import Restriction
from tests.support.laboratory import ACTOR, BTC, ETH, LONG, SHORT, Laboratory, laboratory
from tests.support.waiting import until


async def opened(lab: Laboratory, *trades: tuple[str, str]) -> None:
    """Open accounts that hold these signed quantities of BTC."""
    for name, quantity in trades:
        await lab.account(name, balance=100_000)
        side = SHORT if quantity.startswith("-") else LONG
        assert isinstance(await lab.market(name, side, quantity.lstrip("-")), Executed)
    await lab.settled()


async def even_out(lab: Laboratory) -> None:
    """Give back what the exchange's insurance fund took beyond its fills, so that the wallets agree."""
    await lab.settled()
    expected = lab.parts.ledger._book.derived_wallet()
    told = (await lab.parts.exchange.account.wallet()).wallet_balance
    difference = Decimal(expected - told).quantize(Decimal("1e-8"))
    if difference:
        lab.exchange.arm(kind="deposit", account=EMBEDDED_KEY, quantity=str(difference))


async def reasons(lab: Laboratory, name: str) -> list[str]:
    return [row.reason for row in await lab.parts.ledger.queries.balance_logs(lab.accounts[name], 20)]


async def halted(lab: Laboratory) -> None:
    await until(
        lambda: lab.parts.ledger.restriction_of(lab.accounts["A"]) is Restriction.HALT, "the halt", seconds=5
    )


async def test_the_real_account_is_liquidated_with_two_holders(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        await opened(lab, ("A", "0.6"), ("B", "0.3"))
        resting = await lab.limit("A", LONG, "0.1", "50000")
        assert isinstance(resting, Resting)
        lab.exchange.arm(kind="liquidate", account=EMBEDDED_KEY, symbol="BTCUSDT")
        await halted(lab)
        await until(lambda: not lab.held("A") and not lab.held("B"), "both closed")
        for name in "AB":
            assert "EXCHANGE_LIQUIDATION" in await reasons(lab, name)
        await until(lambda: not lab.parts.ledger.open_orders(), "the order's end")
        assert lab.parts.wired.exchange_closes.statistics().liquidations >= 1
        refused = await lab.market("B", LONG, "0.1")
        assert isinstance(refused, Refused)
        assert refused.refusals[0].code is RefusalCode.TRADING_RESTRICTED
        await even_out(lab)
        accounts = dict(lab.accounts)
    async with laboratory(tmp_path) as lab:
        lab.accounts.update(accounts)
        assert lab.parts.ledger.restriction_of(accounts["A"]) is Restriction.HALT, "it survives a restart"
        await lab.parts.ledger.set_restriction(None, "exchange", Restriction.NONE, "capital added", ACTOR)
        assert isinstance(await lab.market("A", LONG, "0.1"), Executed)


async def test_the_real_account_is_liquidated_with_opposite_holders(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        await opened(lab, ("A", "0.6"), ("B", "0.3"), ("C", "-0.45"))
        # Nobody listens: the fills come by gap filling, which asks whose orders they were of.
        lab.exchange.arm(kind="cut", traffic="private")
        lab.exchange.arm(kind="liquidate", account=EMBEDDED_KEY, symbol="BTCUSDT")
        await halted(lab)
        await until(lambda: lab.parts.ledger.expected_net(BTC) == 0, "the net is closed")
        assert lab.held("C") == Decimal("-0.45"), "the exchange took nothing from the other side"
        assert (lab.held("A"), lab.held("B")) == (Decimal("0.3"), Decimal("0.15"))
        assert all(not held.signed_quantity for held in lab.parts.ledger.house_positions())
        # What is left is real again as soon as somebody closes: nobody is trapped.
        await until(lambda: lab.parts.core.net.net(BTC) is not None, "the stream is back")
        position = lab.position("C")
        assert position is not None
        assert isinstance(await lab.parts.trader.close(position.id, ACTOR), Executed)
        await until(lambda: lab.parts.ledger.expected_net(BTC) == Decimal("0.45"), "the real close")
        await lab.flatten()
        await even_out(lab)


async def test_the_house_bears_what_the_setting_gives_it(tmp_path: Path) -> None:
    async with laboratory(tmp_path, exchange_close="house") as lab:
        await opened(lab, ("A", "0.6"))
        lab.exchange.arm(kind="adl", account=EMBEDDED_KEY, symbol="BTCUSDT", quantity="0.4")
        await until(lambda: lab.parts.ledger.expected_net(BTC) == Decimal("0.2"), "the house's leg")
        assert lab.held("A") == Decimal("0.6")
        await lab.flatten()


async def test_deleveraging_halts_nobody(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as lab:
        await opened(lab, ("A", "0.6"), ("B", "0.2"))
        lab.exchange.arm(kind="adl", account=EMBEDDED_KEY, symbol="BTCUSDT", quantity="0.4")
        await until(lambda: lab.held("A") == Decimal("0.3"), "A's share")
        assert lab.held("B") == Decimal("0.1")
        assert "EXCHANGE_ADL" in await reasons(lab, "B")
        assert lab.parts.ledger.restriction_of(lab.accounts["A"]) is Restriction.NONE
        assert isinstance(await lab.market("A", LONG, "0.1"), Executed)
        await lab.flatten()


@pytest.mark.parametrize("net", ["open", "flat"])
async def test_a_delisting_ends_every_position_at_the_settlement_price(tmp_path: Path, net: str) -> None:
    async with laboratory(tmp_path) as lab:
        await opened(lab, ("A", "0.5"), ("B", "-0.5" if net == "flat" else "-0.2"))
        resting = await lab.limit("A", LONG, "0.1", "50000")
        assert isinstance(resting, Resting)
        ended: list[str | None] = []
        lab.parts.ledger.on_commit(
            lambda committed: ended.extend(order.reject_code for order in committed.orders)
        )
        lab.exchange.arm(kind="settle", symbol="BTCUSDT")
        await until(lambda: not lab.parts.ledger.open_positions(), "everybody settled")
        for name in "AB":
            assert "EXCHANGE_SETTLEMENT" in await reasons(lab, name)
        assert all(not held.signed_quantity for held in lab.parts.ledger.house_positions())
        await until(lambda: not lab.parts.ledger.open_orders(), "the order's end")
        assert "SYMBOL_DELISTED" in ended, "it is never placed again"
        refused = await lab.market("A", LONG, "0.1")
        assert isinstance(refused, Refused)
        assert refused.refusals[0].code is RefusalCode.SYMBOL_NOT_TRADING
        assert isinstance(await lab.market("A", LONG, "0.1", ETH), Executed), "others trade on"
        told = lab.parts.wired.exchange_closes.statistics()
        assert (told.settlements, told.settled_flat) == ((0, 1) if net == "flat" else (1, 0))
