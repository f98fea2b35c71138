"""No sequence of requests and faults makes the account's balance, positions and order states inconsistent.

Each example runs a whole exchange in this process on virtual time: orders, amendments, cancels, batches,
moving prices, transfers and manual orders, while answers are lost, late, replaced or throttled and stream
events are lost, late, repeated and swapped. Then, with the faults gone, what REST says must fit together,
what was emitted must end where REST stands, and the exchange must be the same after a restart.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import defaultdict
from decimal import Decimal as D
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pms.simulator.config import Limits
from pms.simulator.endpoints import ENDPOINTS
from tests.unit.simulator.in_process import KEY, Exchange, exchange

LIMITLESS = Limits(request_weight_1m=10**9, orders_10s=10**9, orders_1m=10**9)
SYMBOLS = {"BTCUSDT": (D("60000.0"), D("0.1")), "ETHUSDT": (D("3000.00"), D("0.01"))}
TERMINAL = {"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"}

Action = tuple[Any, ...]


def orders() -> st.SearchStrategy[dict[str, str]]:
    """An order that is often possible, sometimes not; `price` counts ticks from the first quote."""
    return st.fixed_dictionaries(
        {
            "symbol": st.sampled_from(sorted(SYMBOLS)),
            "side": st.sampled_from(["BUY", "SELL"]),
            "type": st.sampled_from(["MARKET", "LIMIT", "LIMIT"]),
            "quantity": st.sampled_from(["0.002", "0.01", "0.05", "0.5", "4", "25", "0"]),
            "ticks": st.integers(-300, 300).map(str),
            "timeInForce": st.sampled_from(["GTC", "GTC", "GTC", "IOC", "FOK", "GTX"]),
            "reduceOnly": st.sampled_from(["false", "false", "true"]),
            "selfTradePreventionMode": st.sampled_from(["EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH"]),
        }
    )


FAULTS: list[dict[str, Any]] = [
    {"kind": "lose", "executed": True},
    {"kind": "lose", "executed": False},
    {"kind": "answer", "variant": "503A", "executed": True},
    {"kind": "answer", "variant": "504", "executed": False},
    {"kind": "answer", "variant": "503C"},
    {"kind": "delay", "ms": 6000, "stage": "request"},
    {"kind": "delay", "ms": 6000, "stage": "engine"},
    {"kind": "delay", "ms": 400, "ms_max": 4000, "stage": "engine"},
    {"kind": "fail_elements", "elements": [0, 2]},
    {"kind": "drop", "traffic": "private"},
    {"kind": "duplicate", "traffic": "private"},
    {"kind": "reorder", "traffic": "private"},
    {"kind": "delay_events", "traffic": "private", "ms": 700},
    {"kind": "maintenance", "for_ms": 3000},
    {"kind": "clock_skew", "ms": -2500, "for_ms": 3000},
    {"kind": "too_many"},
]

ACTIONS: st.SearchStrategy[Action] = st.one_of(
    st.tuples(st.just("place"), orders()),
    st.tuples(st.just("place"), orders()),
    st.tuples(st.just("batch"), st.lists(orders(), min_size=1, max_size=5)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("amend"), st.integers(0, 9), st.integers(-300, 300), st.sampled_from(["0.01", "0.3"])),
    st.tuples(st.just("cancel_all"), st.sampled_from(sorted(SYMBOLS))),
    st.tuples(st.just("quote"), st.sampled_from(sorted(SYMBOLS)), st.integers(-400, 400)),
    st.tuples(st.just("fall"), st.sampled_from(sorted(SYMBOLS)), st.sampled_from(["0.9", "1.12"])),
    st.tuples(st.just("deposit"), st.sampled_from(["250", "-100"])),
    st.tuples(st.just("manual"), st.sampled_from(["BUY", "SELL"]), st.sampled_from(["0.01", "0.4"])),
    st.tuples(st.just("forced"), st.sampled_from(["liquidate", "adl"]), st.sampled_from(sorted(SYMBOLS))),
    st.tuples(st.just("leverage"), st.sampled_from(sorted(SYMBOLS)), st.sampled_from([5, 20, 50])),
    st.tuples(
        st.just("margin_type"), st.sampled_from(sorted(SYMBOLS)), st.sampled_from(["ISOLATED", "CROSSED"])
    ),
    st.tuples(
        st.just("margin"), st.sampled_from(sorted(SYMBOLS)), st.sampled_from([1, 2]), st.integers(1, 900)
    ),
    st.tuples(st.just("fault"), st.sampled_from(FAULTS)),
    st.tuples(st.just("wait"), st.integers(20, 2000)),
)


class Run:
    """One exchange under one sequence, and its private events, before any fault could lose them."""

    def __init__(self, venue: Exchange) -> None:
        self.venue = venue
        self.emitted: list[dict[str, Any]] = []
        self.pending: list[asyncio.Task[Any]] = []
        carried = venue.simulator.venue.hub.carry

        def carry(traffic: str, stream: str, payload: bytes, conflate: bool) -> None:
            if traffic == "private":
                self.emitted.append(json.loads(payload))
            carried(traffic, stream, payload, conflate)

        venue.simulator.venue.hub.carry = carry

    async def send(self, method: str, path: str, **params: Any) -> None:
        """Send without waiting for an answer that a fault may hold back."""
        self.pending.append(asyncio.create_task(self.venue.signed(method, path, **params)))
        for _ in range(3):
            await asyncio.sleep(0)

    def _order(self, wanted: dict[str, str]) -> dict[str, str]:
        order = dict(wanted)
        price, tick = SYMBOLS[order["symbol"]]
        ticks = order.pop("ticks")
        if order["type"] == "MARKET":
            order.pop("timeInForce")
        else:
            order["price"] = str(price + int(ticks) * tick)
        return order

    async def do(self, action: Action) -> None:
        """Carry out one action."""
        match action:
            case ("place", wanted):
                await self.send("POST", "/fapi/v1/order", **self._order(wanted))
            case ("batch", wanted):
                elements = json.dumps([self._order(one) for one in wanted])
                await self.send("POST", "/fapi/v1/batchOrders", batchOrders=elements)
            case ("cancel", place) if opened := self._open():
                order = opened[place % len(opened)]
                await self.send("DELETE", "/fapi/v1/order", symbol=order[0], orderId=order[1])
            case ("amend", place, ticks, quantity) if ("PUT", "/fapi/v1/order") in ENDPOINTS and self._open():
                opened = self._open()
                symbol, number, side = opened[place % len(opened)]
                price = SYMBOLS[symbol][0] + ticks * SYMBOLS[symbol][1]
                changes = {"side": side, "price": str(price), "quantity": quantity}
                await self.send("PUT", "/fapi/v1/order", symbol=symbol, orderId=number, **changes)
            case ("cancel_all", symbol):
                await self.send("DELETE", "/fapi/v1/allOpenOrders", symbol=symbol)
            case ("quote", symbol, ticks):
                self._quote(symbol, SYMBOLS[symbol][0] + ticks * SYMBOLS[symbol][1])
            case ("fall", symbol, factor):
                self._quote(symbol, (SYMBOLS[symbol][0] * D(factor)).quantize(SYMBOLS[symbol][1]))
            case ("deposit", amount):
                self.venue.simulator.deposit(KEY, D(amount))
            case ("leverage", symbol, leverage):
                await self.send("POST", "/fapi/v1/leverage", symbol=symbol, leverage=leverage)
            case ("margin_type", symbol, kind):
                await self.send("POST", "/fapi/v1/marginType", symbol=symbol, marginType=kind)
            case ("margin", symbol, kind, amount):
                wanted = {"symbol": symbol, "type": kind, "amount": amount}
                await self.send("POST", "/fapi/v1/positionMargin", **wanted)
            case ("manual", side, quantity):
                fault = {"symbol": "BTCUSDT", "account": KEY, "side": side, "quantity": quantity}
                self.venue.simulator.doors.faults.last_refusal = ""
                self.venue.simulator.arm(kind="manual_order", at_ms=1, **fault)
            case ("forced", kind, symbol):
                self.venue.simulator.arm(kind=kind, account=KEY, symbol=symbol, at_ms=1)
            case ("fault", fault):
                self.venue.simulator.arm(**fault)
            case ("wait", milliseconds):
                await self.venue.wait(milliseconds, step_ms=200)

    def _open(self) -> list[tuple[str, int, str]]:
        engine = self.venue.simulator.venue.engine
        found = engine.open_orders_of(engine.account_by_key[KEY])
        return [(o.symbol, o.order_id, o.side) for o in found]

    def _quote(self, symbol: str, bid: D) -> None:
        self.venue.simulator.set_quote(symbol, bid, bid + SYMBOLS[symbol][1], D(3), D(3))

    async def settle(self) -> None:
        """Clear the faults, let everything on its way arrive."""
        self.venue.simulator.doors.faults.clear()
        while not all(task.done() for task in self.pending):
            await self.venue.wait(1000, step_ms=500)
        await self.venue.wait(1500, step_ms=500)
        await asyncio.gather(*self.pending)


async def snapshot(venue: Exchange) -> dict[str, Any]:
    """Return everything that REST says of the account, without what moves with time."""
    rows: dict[str, Any] = {}
    for name, path in (
        ("balance", "/fapi/v3/balance"),
        ("income", "/fapi/v1/income"),
        ("open", "/fapi/v1/openOrders"),
        ("config", "/fapi/v1/symbolConfig"),
        ("positions", "/fapi/v3/positionRisk"),
    ):
        more: dict[str, Any] = {"limit": 1000} if name == "income" else {}
        answer = await venue.signed("GET", path, **more)
        assert answer.status == 200, answer
        rows[name] = answer.body
    for symbol in SYMBOLS:
        for name, path in (
            ("orders", "/fapi/v1/allOrders"),
            ("trades", "/fapi/v1/userTrades"),
            ("moves", "/fapi/v1/positionMargin/history"),
        ):
            answer = await venue.signed("GET", path, symbol=symbol, limit=1000)
            assert answer.status == 200, answer
            rows.setdefault(name, []).extend(answer.body)
    return rows


def check_books(rows: dict[str, Any]) -> None:
    """What REST says must fit together."""
    wallets: dict[str, D] = defaultdict(D)
    for line in rows["income"]:
        wallets[line["asset"]] += D(line["income"])
    for balance in rows["balance"]:
        assert D(balance["balance"]) == wallets[balance["asset"]], "wallet = Σ income"
        if balance["asset"] == "USDT":
            isolated = sum(D(row["isolatedWallet"]) for row in rows["positions"])
            assert D(balance["balance"]) == D(balance["crossWalletBalance"]) + isolated
    held: dict[str, D] = defaultdict(D)
    executed: dict[int, D] = defaultdict(D)
    for trade in rows["trades"]:
        held[trade["symbol"]] += D(trade["qty"]) * (1 if trade["buyer"] else -1)
        executed[trade["orderId"]] += D(trade["qty"])
    positions = {row["symbol"]: D(row["positionAmt"]) for row in rows["positions"]}
    for symbol in SYMBOLS:
        assert positions.get(symbol, D(0)) == held[symbol], "position = signed Σ trades"
    for order in rows["orders"]:
        done, whole = D(order["executedQty"]), D(order["origQty"])
        assert done == executed.pop(order["orderId"], D(0)), "executed = Σ its trades"
        assert done <= whole
        assert (order["status"] == "FILLED") == (done == whole), order
        assert (order["status"] == "NEW") <= (done == 0), order
        assert order["status"] in TERMINAL | {"NEW", "PARTIALLY_FILLED"}
    assert not executed, "every trade has its order"
    resting = [order["orderId"] for order in rows["orders"] if order["status"] not in TERMINAL]
    assert sorted(resting) == sorted(order["orderId"] for order in rows["open"])


def check_events(rows: dict[str, Any], emitted: list[dict[str, Any]]) -> None:
    """What was emitted must end where REST stands, and tell each trade once."""
    states: dict[int, tuple[str, D]] = {}
    told: list[tuple[str, int]] = []
    wallet = cross = D(100_000)
    positions, isolated = dict[str, D](), dict[str, D]()
    for event in emitted:
        if event["e"] == "ORDER_TRADE_UPDATE":
            order = event["o"]
            states[order["i"]] = (order["X"], D(order["z"]))
            told += [(order["s"], order["t"])] if order["x"] in ("TRADE", "CALCULATED") else []
        elif event["e"] == "ACCOUNT_UPDATE":
            for balance in event["a"]["B"]:
                if balance["a"] == "USDT":
                    wallet, cross = D(balance["wb"]), D(balance["cw"])
            positions.update({p["s"]: D(p["pa"]) for p in event["a"]["P"]})
            isolated.update({p["s"]: D(p["iw"]) for p in event["a"]["P"]})
    assert states == {o["orderId"]: (o["status"], D(o["executedQty"])) for o in rows["orders"]}
    assert sorted(told) == sorted((t["symbol"], t["id"]) for t in rows["trades"])
    (usdt,) = (b for b in rows["balance"] if b["asset"] == "USDT")
    assert (D(usdt["balance"]), D(usdt["crossWalletBalance"])) == (wallet, cross)
    own = {p["symbol"]: D(p["isolatedWallet"]) for p in rows["positions"] if D(p["isolatedWallet"])}
    assert {symbol: amount for symbol, amount in isolated.items() if amount} == own
    held = {p["symbol"]: D(p["positionAmt"]) for p in rows["positions"] if D(p["positionAmt"])}
    assert {symbol: amount for symbol, amount in positions.items() if amount} == held


async def run(actions: list[Action], folder: Path) -> None:
    """Run a sequence, check the account, restart, check that nothing changed."""
    config: dict[str, Any] = {"limits": LIMITLESS, "data_path": folder / "exchange.db"}
    async with exchange(**config) as venue:
        await venue.raw("POST", "/fapi/v1/listenKey")
        running = Run(venue)
        for action in actions:
            await running.do(action)
        await running.settle()
        before = await snapshot(venue)
        check_books(before)
        check_events(before, running.emitted)
        end_ms = venue.clock.now_ms()
    async with exchange(end_ms, quoted=False, **config) as again:
        for row in (after := await snapshot(again))["positions"] + before["positions"]:
            for moving in ("markPrice", "unRealizedProfit", "liquidationPrice", "notional"):
                row.pop(moving, None)
        assert strip(after) == strip(before), "the same after a restart"


def strip(rows: dict[str, Any]) -> dict[str, Any]:
    """Keep what does not depend on the mark price."""
    kept = {name: rows[name] for name in ("income", "config", "orders", "trades", "moves")}
    kept["balance"] = [(b["asset"], b["balance"], b["crossWalletBalance"]) for b in rows["balance"]]
    kept["positions"] = [
        (p["symbol"], p["positionSide"], p["positionAmt"], p["entryPrice"], p["isolatedWallet"])
        for p in rows["positions"]
        if D(p["positionAmt"])
    ]
    return kept


@settings(max_examples=settings().max_examples // 8)  # each a whole exchange and its restart
@given(st.lists(ACTIONS, min_size=5, max_size=30))
def test_no_sequence_of_requests_and_faults_makes_an_account_inconsistent(actions: list[Action]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(actions, Path(folder)))
