"""Single orders by REST and by socket, changes and batches, on the simulated exchange."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pms.exchange.amending import Amender, Replaced
from pms.exchange.binance import BinanceExchange
from pms.exchange.port import (
    CancelVerdict,
    Confirmed,
    NotSent,
    OrderReport,
    OutcomeUnknown,
    PlaceOutcome,
    RefusedByExchange,
)
from pms.model.ids import ClientOrderId
from pms.model.money import Price, Quantity
from pms.model.order import (
    ApprovedAmendment,
    ApprovedOrder,
    ExchangeOrderStatus,
    OrderSide,
    TimeInForce,
)
from pms.model.refusal import RefusalCode
from pms.runtime import SystemClock
from pms.simulator import Simulator, SimulatorConfig
from tests.integration.exchange.fake_venue import running, until
from tests.integration.exchange.test_simulator import BTC, KEY, SECRET, config_of, order

STATUS = ExchangeOrderStatus


@asynccontextmanager
async def on_simulator(
    way: str, public: str = SECRET, private: str = SECRET
) -> AsyncIterator[tuple[Simulator, BinanceExchange]]:
    """A simulator, and an adapter that sends single orders that way."""
    simulator = Simulator(SimulatorConfig(symbols=("BTCUSDT",), accounts=((KEY, public, Decimal(100_000)),)))
    await simulator.start()
    simulator.set_quote("BTCUSDT", Decimal("50000.0"), Decimal("50000.1"))
    config = replace(
        config_of(simulator),
        trade_by_socket=way == "websocket",
        api_secret=type(config_of(simulator).api_secret)(private),
    )
    exchange = BinanceExchange(config, SystemClock(), Random(1))
    await exchange.start()
    try:
        if exchange._socket is None:
            yield simulator, exchange
        else:
            async with running(exchange._socket.run()):
                await until(lambda: exchange._socket is not None and exchange._socket.statistics().connected)
                yield simulator, exchange
                assert exchange._socket.statistics().by_rest == 0
    finally:
        await exchange.close()
        await simulator.stop()


WAYS = pytest.mark.parametrize("way", ["rest", "websocket"])


def resting(number: int, price: str = "49000", **more: Any) -> ApprovedOrder:
    return order(number, price=price, **more)


def changed(one: ApprovedOrder, quantity: str, price: str) -> ApprovedAmendment:
    return ApprovedAmendment(
        one.client_order_id, BTC, one.side, Quantity(Decimal(quantity)), Price(Decimal(price)), False, 7
    )


async def report_of(exchange: BinanceExchange, client_order_id: ClientOrderId) -> OrderReport:
    report = await exchange.trading.query(BTC, client_order_id)
    assert isinstance(report, OrderReport)
    return report


async def fill_partly(simulator: Simulator, exchange: BinanceExchange, one: ApprovedOrder) -> OrderReport:
    """Place an order that is filled by 0.004, because the book holds no more; then the price goes away."""
    simulator.set_quote("BTCUSDT", Decimal("50000.0"), Decimal("50000.1"), Decimal(5), Decimal("0.004"))
    assert isinstance(await exchange.trading.place(one), Confirmed)
    simulator.set_quote("BTCUSDT", Decimal("50010.0"), Decimal("50010.1"))
    report = await report_of(exchange, one.client_order_id)
    assert report.executed_quantity == Decimal("0.004")
    return report


@WAYS
async def test_an_order_is_placed_changed_queried_and_cancelled(way: str) -> None:
    async with on_simulator(way) as (_, exchange):
        trading, one = exchange.trading, resting(1)
        assert isinstance(await trading.place(one), Confirmed)
        done = await trading.amend(changed(one, "0.020", "49100.5"))
        assert isinstance(done, Confirmed)
        assert (done.report.quantity, done.report.price) == (Decimal("0.020"), Decimal("49100.5"))
        again = await trading.amend(changed(one, "0.020", "49100.5"))
        assert isinstance(again, Confirmed), "nothing to change: the order as it is"
        assert again.report.status is STATUS.NEW
        small = await trading.amend(changed(one, "0.001", "4910.5"))
        assert isinstance(small, RefusedByExchange)
        unchanged = await report_of(exchange, one.client_order_id)
        assert (unchanged.quantity, unchanged.price) == (Decimal("0.020"), Decimal("49100.5"))
        assert (await trading.cancel(BTC, one.client_order_id)).verdict is CancelVerdict.CANCELLED
        gone = await trading.amend(changed(one, "0.030", "49100.5"))
        assert isinstance(gone, RefusedByExchange)
        assert gone.refusal is RefusalCode.ORDER_NOT_PENDING


@WAYS
async def test_a_change_to_what_has_executed_or_would_take_ends_the_order(way: str) -> None:
    async with on_simulator(way) as (simulator, exchange):
        one = resting(1, "50000.1")
        await fill_partly(simulator, exchange, one)
        ended = await exchange.trading.amend(changed(one, "0.004", "50000.1"))
        assert isinstance(ended, Confirmed)
        assert (ended.report.status, ended.report.executed_quantity) == (STATUS.CANCELLED, Decimal("0.004"))
        simulator.set_quote("BTCUSDT", Decimal("50000.0"), Decimal("50000.1"))
        maker = resting(2, time_in_force=TimeInForce.GTX)
        assert isinstance(await exchange.trading.place(maker), Confirmed)
        await exchange.trading.amend(changed(maker, "0.010", "50000.5"))
        assert (await report_of(exchange, maker.client_order_id)).status.terminal
        assert await exchange.account.open_orders() == []


@WAYS
async def test_a_replaced_order_leaves_exactly_what_was_not_executed(way: str) -> None:
    async with on_simulator(way) as (simulator, exchange):
        one = resting(1, "50000.1")
        await fill_partly(simulator, exchange, one)
        placed: list[ApprovedOrder] = []

        async def place(new: ApprovedOrder) -> PlaceOutcome:
            placed.append(new)
            return await exchange.trading.place(new)

        amender = Amender(exchange.trading, SystemClock(), exchange.now_ms, deadline_seconds=2.0)
        outcome = await amender.replace(changed(one, "0.010", "48000"), resting(2, "48000"), place)
        assert isinstance(outcome, Replaced)
        assert outcome.old.executed_quantity + placed[0].quantity == Decimal("0.010")
        (live,) = await exchange.account.open_orders()
        assert (live.client_order_id, live.quantity) == (placed[0].client_order_id, placed[0].quantity)


async def test_batches_of_any_size_end_one_by_one() -> None:
    async with on_simulator("rest") as (simulator, exchange):
        trading = exchange.trading
        simulator.arm(kind="fail_elements", path="/fapi/v1/batchOrders", elements=[1], code=-2022, msg="x")
        orders = [resting(number, f"{49000 + number}") for number in range(7)]
        outcomes = await trading.place_many(orders)
        assert [type(each) for each in outcomes] == [Confirmed, RefusedByExchange, *[Confirmed] * 5]
        changes = [changed(each, "0.020", f"{48000 + number}") for number, each in enumerate(orders)]
        results = await trading.amend_many(changes)
        assert [type(each) for each in results] == [Confirmed, RefusedByExchange, *[Confirmed] * 5]
        listed = {each.client_order_id: each for each in await exchange.account.open_orders()}
        assert {each.price for each in listed.values()} == {48000 + n for n in range(7) if n != 1}
        cancels = await trading.cancel_many([(BTC, each.client_order_id) for each in orders])
        verdicts = [each.verdict for each in cancels]
        assert verdicts == [CancelVerdict.CANCELLED, CancelVerdict.NOT_OPEN, *[CancelVerdict.CANCELLED] * 5]
        assert await exchange.account.open_orders() == []


@pytest.mark.parametrize("executed", [True, False], ids=["executed", "not executed"])
async def test_a_lost_batch_is_unknown_for_each_and_each_is_found_by_its_id(executed: bool) -> None:
    async with on_simulator("rest") as (simulator, exchange):
        simulator.arm(kind="lose", path="/fapi/v1/batchOrders", executed=executed)
        orders = [resting(number) for number in range(3)]
        outcomes = await exchange.trading.place_many(orders)
        assert [type(each) for each in outcomes] == [OutcomeUnknown] * 3
        found = [await exchange.trading.query(BTC, each.client_order_id) for each in orders]
        assert [isinstance(each, OrderReport) for each in found] == [executed] * 3


@WAYS
@pytest.mark.parametrize("executed", [True, False], ids=["executed", "not executed"])
async def test_a_lost_answer_is_unknown_and_sent_only_once(way: str, executed: bool) -> None:
    async with on_simulator(way) as (simulator, exchange):
        simulator.arm(kind="lose", path="orders", executed=executed)
        one = order(1)
        outcome = await exchange.trading.place(one)
        assert isinstance(outcome, OutcomeUnknown)
        account = simulator.venue.engine.account_by_key[KEY]
        assert len(list(simulator.venue.engine.all_orders(account))) == executed
        if exchange._socket is not None:
            await until(lambda: exchange._socket is not None and exchange._socket.statistics().connected)
        found = await exchange.trading.query(BTC, one.client_order_id)
        assert isinstance(found, OrderReport) is executed
        assert len(await exchange.account.positions()) == executed


async def test_a_lock_by_the_rules_on_behaviour_stops_what_does_not_reduce() -> None:
    async with on_simulator("rest") as (simulator, exchange):
        trading, rules = exchange.trading, simulator.venue.engine.trading_rules
        assert isinstance(await trading.place(order(90)), Confirmed)
        rules.orders_min = 1
        one = resting(91)
        await trading.place(one)
        for tally in rules._tallies.values():
            tally.resting = tally.orders = 0  # a window of cancels alone
        await trading.cancel(BTC, one.client_order_id)
        async with running(exchange._status.run()):
            # The exchange refuses; that is looked into at once, and what follows is not sent any more.
            refused = await trading.place(resting(92))
            if isinstance(refused, RefusedByExchange):
                assert refused.code == -4400
            await until(lambda: exchange.statistics().conduct.locked_until_ms)
            held = await trading.place(resting(93))
            assert isinstance(held, NotSent)
            assert 0 < held.retry_after_ms <= 600_000
            reducing = order(94, side=OrderSide.SELL, reduce_only_wire=True, risk_reducing=True)
            assert isinstance(await trading.place(reducing), Confirmed)
            assert await exchange.account.positions() == []


KEYS: dict[str, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey] = {
    "Ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)),
    "RSA": rsa.generate_private_key(65537, 2048),
}


@WAYS
@pytest.mark.parametrize("kind", KEYS)
async def test_every_kind_of_key_trades(way: str, kind: str) -> None:
    key = KEYS[kind]
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    async with on_simulator(way, public, private) as (_, exchange):
        assert isinstance(await exchange.trading.place(resting(1)), Confirmed)
        if way == "websocket":
            found = exchange.statistics().trading_socket
            assert found is not None
            assert found.logged_on is (kind == "Ed25519")


LATE = [("request", -1021), ("engine", -5028)]


@WAYS
@pytest.mark.parametrize(("stage", "code"), LATE, ids=["on the way", "before the engine"])
async def test_a_request_delayed_past_its_recv_window_is_refused_not_executed(
    way: str, stage: str, code: int
) -> None:
    """Named situation: nothing executes, the caller learns that nothing was done, the clock is measured."""
    async with on_simulator(way) as (simulator, exchange):
        exchange._rest.control._config = replace(exchange.config, recv_window_ms=40)
        trading, standing = exchange.trading, resting(1)
        assert isinstance(await trading.place(standing), Confirmed)
        measured = exchange.statistics().rest.clock_measurements

        def late(method: str) -> None:
            simulator.arm(kind="delay", ms=70, stage=stage, method=method, path="*rder*")

        late("POST")
        outcome = await trading.place(order(2, side=OrderSide.BUY))
        assert isinstance(outcome, NotSent)
        assert f"({code})" in outcome.reason
        late("PUT")
        change = await trading.amend(changed(standing, "0.020", "48000"))
        assert isinstance(change, NotSent)
        refused = 2
        if stage == "request":
            late("DELETE")
            cancel = await trading.cancel(BTC, standing.client_order_id)
            assert cancel.verdict is CancelVerdict.NOT_SENT
            refused = 3
        late("POST")
        batch = await trading.place_many([order(3), order(4)])
        assert [type(each) for each in batch] == [NotSent] * 2
        assert exchange.statistics().rest.clock_measurements == measured + refused + 1
        # The exchange itself: one resting order as it was placed, no other order, no position, no trade.
        account = simulator.venue.engine.account_by_key[KEY]
        (kept,) = simulator.venue.engine.all_orders(account)
        assert (kept.client_order_id, kept.status) == (standing.client_order_id, "NEW")
        assert (kept.quantity, kept.price) == (Decimal("0.010"), Decimal(49_000))
        assert simulator.venue.engine.trades_of(account, "BTCUSDT") == []
        assert await exchange.account.positions() == []


async def test_a_request_that_is_late_and_whose_answer_is_lost_is_proved_absent() -> None:
    """The same, when our own deadline passes first: unknown, then proof by time and query (decision 2)."""
    async with on_simulator("rest") as (simulator, exchange):
        exchange._rest.control._config = replace(exchange.config, recv_window_ms=40)
        exchange._rest._config = replace(exchange.config, deadline_seconds=0.1)
        simulator.arm(kind="delay", ms=150, path="/fapi/v1/order", method="POST")
        one = order(2)
        outcome = await exchange.trading.place(one)
        assert isinstance(outcome, OutcomeUnknown)
        assert outcome.recv_window_ms == 40
        await until(lambda: simulator.venue.now_ms() > outcome.timestamp_ms + 250)
        account = simulator.venue.engine.account_by_key[KEY]
        assert list(simulator.venue.engine.all_orders(account)) == []
        assert not isinstance(await exchange.trading.query(BTC, one.client_order_id), OrderReport)
