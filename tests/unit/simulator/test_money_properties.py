"""Property: no sequence of fills, funding, liquidations, deposits, settlements and movements of isolated
margin makes money or positions inconsistent; margin equals a naive recomputation; a restart changes nothing
(issue 3, spec 7)."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal as D

from hypothesis import given, settings
from hypothesis import strategies as st

from pms.simulator.config import Fees
from pms.simulator.core import Engine
from pms.simulator.errors import SimulatorError
from pms.simulator.state import BOTH, FUND_ID, ISOLATED, LONG, SHORT, USDT, ZERO, Account, Order, Position
from pms.simulator.store import Store, rows_of
from tests.unit.simulator.market_support import NOW, RULES, place, quote
from tests.unit.simulator.money_support import HOUR, check_money

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
MIDS = {"BTCUSDT": D(60000), "ETHUSDT": D(3000), "BNBUSDT": D(600)}
RATES = {"BTCUSDT": "0.0003", "ETHUSDT": "-0.0002", "BNBUSDT": "0"}
ACCOUNTS = st.integers(0, 2)
STEP = st.one_of(
    st.tuples(
        st.just("place"),
        ACCOUNTS,
        st.sampled_from(SYMBOLS),
        st.sampled_from(["BUY", "SELL"]),
        st.sampled_from(["MARKET", "LIMIT", "LIMIT"]),
        st.integers(1, 60),
        st.integers(-8, 8),
    ),
    st.tuples(st.just("move"), st.sampled_from(SYMBOLS), st.integers(-90, 90)),
    st.tuples(st.just("wait"), st.sampled_from([150, 1000, HOUR, 8 * HOUR])),
    st.tuples(st.just("deposit"), ACCOUNTS, st.sampled_from([USDT, "BNB"]), st.integers(1, 900)),
    st.tuples(st.just("burn"), ACCOUNTS, st.booleans()),
    st.tuples(st.just("cancel"), ACCOUNTS),
    st.tuples(st.just("liquidate"), ACCOUNTS, st.sampled_from(SYMBOLS)),
    st.tuples(st.just("deleverage"), ACCOUNTS, st.sampled_from(SYMBOLS), st.integers(1, 50)),
    st.tuples(st.just("settle"), st.sampled_from(SYMBOLS)),
    st.tuples(st.just("type"), ACCOUNTS, st.sampled_from(SYMBOLS), st.sampled_from(["ISOLATED", "CROSSED"])),
    st.tuples(st.just("margin"), ACCOUNTS, st.sampled_from(SYMBOLS), st.integers(-400, 400)),
    st.tuples(st.just("leverage"), ACCOUNTS, st.sampled_from(SYMBOLS), st.sampled_from([4, 20, 50])),
)


class World:
    """Three accounts, the second on isolated margin, the last in hedge mode with both kinds, on three moving
    markets."""

    def __init__(self) -> None:
        self.engine = Engine({s: RULES[s] for s in SYMBOLS}, Fees())
        self.now_ms = NOW
        self.mids = dict(MIDS)
        self.engine.funding.rate_of = lambda symbol: {"BTCUSDT": "0.0003", "ETHUSDT": "-0.0002"}.get(
            symbol, "0"
        )
        self.accounts = [
            self.engine.open_account(f"key-{n}", "secret", D(2500 + 500 * n), NOW) for n in range(3)
        ]
        self.accounts[2].hedge_mode = True
        for number, symbol in ((1, "BTCUSDT"), (1, "ETHUSDT"), (2, "BTCUSDT")):
            self.engine.settings.set_margin_type(self.accounts[number], symbol, ISOLATED, NOW)
        for symbol in SYMBOLS:
            self.quote(symbol)
        self.engine.tick(NOW)

    def quote(self, symbol: str) -> None:
        tick, mid = self.engine.rules[symbol].price.step, self.mids[symbol]
        quote(self.engine, symbol, str(mid), str(mid + tick), size="3")

    def do(self, step: tuple[object, ...]) -> None:
        """Apply one step; what makes no sense is refused by the exchange and changes nothing."""
        engine, kind = self.engine, step[0]
        who = self.accounts[step[1]] if isinstance(step[1], int) and kind != "wait" else self.accounts[0]
        try:
            if kind == "place":
                self._place(who, *step[2:])
            elif kind == "move":
                symbol = str(step[1])
                tick = engine.rules[symbol].price.step
                moved = self.mids[symbol] * (1 + D(int(str(step[2]))) / 1000)
                self.mids[symbol] = (moved / tick).to_integral_value() * tick
                self.quote(symbol)
            elif kind == "wait":
                self.now_ms += int(str(step[1]))
                engine.tick(self.now_ms)
            elif kind == "deposit":
                amount = D(int(str(step[3])))
                engine.deposit(who, amount / (1 if step[2] == USDT else 1000), self.now_ms, str(step[2]))
            elif kind == "burn":
                engine.settings.set_fee_burn(who, bool(step[2]))
            elif kind == "cancel":
                for order in engine.open_orders_of(who)[:2]:
                    engine.cancel(who, order, self.now_ms)
            elif kind == "liquidate":
                engine.force_liquidation(who, str(step[2]), self.now_ms)
            elif kind == "deleverage":
                engine.force_adl(who, str(step[2]), D(int(str(step[3]))) / 100, self.now_ms)
            elif kind == "settle":
                engine.settle(str(step[1]), self.mids[str(step[1])], self.now_ms)
            elif kind == "type":
                engine.settings.set_margin_type(who, str(step[2]), str(step[3]), self.now_ms)
            elif kind == "leverage":
                engine.set_leverage(who, str(step[2]), int(str(step[3])), self.now_ms)
            elif kind == "margin":
                self._margin(who, str(step[2]), D(int(str(step[3]))))
        except SimulatorError:
            assert kind in ("liquidate", "deleverage")  # there was no position

    def _margin(self, account: Account, symbol: str, amount: D) -> None:
        """Move margin; where the bounds refuse that, what they just allow."""
        settings, totals = self.engine.settings, self.engine.margin_of(account)
        for position in self.engine.clearing.held_by(account):
            if position.symbol == symbol and settings.change_position_margin(
                account, position, amount, self.now_ms
            ):
                leg = self.engine.leg_of(account, symbol, position.side)
                bound = totals.addable if amount > 0 else -leg.removable
                if bound and account.isolates(symbol):
                    assert settings.change_position_margin(account, position, bound, self.now_ms) is None

    def _place(self, account: Account, *what: object) -> None:
        symbol, side, kind, lots, ticks = (str(part) for part in what)
        step = self.engine.rules[symbol].price.step
        quantity = D(lots) / 100 * (1 if symbol == "BTCUSDT" else 20)
        params = {"symbol": symbol, "side": side, "type": kind, "quantity": f"{quantity:f}"}
        if kind == "LIMIT":
            params["price"] = f"{self.mids[symbol] + int(ticks) * step:f}"
        if account.hedge_mode:
            params["positionSide"] = LONG if int(ticks) % 2 else SHORT
        place(self.engine, account, **params)


def check_conservation(engine: Engine) -> None:
    """Σ (wallet − cost) is what came in, less what was traded with the market, less fees, plus funding."""
    sums: dict[str, D] = defaultdict(lambda: ZERO)
    for row in engine.income:
        if row.asset == USDT:
            sums[row.income_type] += row.amount
    wallets = sum((a.wallet for a in engine.accounts.values()), ZERO)
    cost = sum((p.cost for p in engine.positions.values()), ZERO)
    spent = sum((t.price * t.quantity * (1 if t.side == "BUY" else -1) for t in engine.trades), ZERO)
    fees = sum((t.commission for t in engine.trades if t.commission_asset == USDT), ZERO)
    assert abs(wallets - cost - (sums["TRANSFER"] + sums["FUNDING_FEE"] - spent - fees)) < D("1e-12")
    assert sums["INSURANCE_CLEAR"] == 0  # from one account to another
    assert sums["COMMISSION"] == -fees
    sides: dict[tuple[str, int], list[tuple[D, D, str]]] = defaultdict(list)
    for t in engine.trades:
        sides[t.symbol, t.trade_id].append((t.price, t.quantity, t.side))
    for trades in sides.values():
        assert len(trades) <= 2
        if len(trades) == 2:
            assert trades[0][:2] == trades[1][:2]
            assert trades[0][2] != trades[1][2]


def check_margin(engine: Engine, account: Account) -> None:
    """The running sums equal a recomputation from the open orders and positions."""
    totals = engine.margin_of(account)
    initial = maintenance = unrealized = own = ZERO
    free = account.wallet
    for symbol in SYMBOLS:
        mark, rules = engine.markets[symbol].mark, engine.rules[symbol]
        leverage = engine.leverage_of(account, symbol)
        for side in (BOTH, LONG, SHORT):
            position = engine.position_of(account, symbol, side)
            opening = [
                o for o in engine.open_orders_of(account, symbol) if o.position_side == side and _opens(o)
            ]
            needed = _initial(position, opening, mark) / leverage
            profit = position.quantity * mark - position.cost
            initial += needed
            maintenance += rules.maintenance(abs(position.quantity) * mark)
            unrealized += profit
            own += position.isolated_wallet
            if account.isolates(symbol):
                free -= position.isolated_wallet + needed - abs(position.quantity) * mark / leverage
            else:
                assert position.isolated_wallet == 0 or not position.quantity
                free += profit - needed - position.isolated_wallet
            assert position.quantity or position.isolated_wallet <= 0, "closing releases all of it"
    assert (totals.initial, totals.maintenance, totals.unrealized) == (initial, maintenance, unrealized)
    assert abs(totals.free - free) < D("1e-20")
    assert totals.cross_wallet + own == account.wallet


def _opens(order: Order) -> bool:
    if order.position_side == BOTH:
        return not order.reduce_only
    return (order.side == "BUY") == (order.position_side == LONG)


def _initial(position: Position, opening: list[Order], mark: D) -> D:
    bids = sum((o.remaining * o.price for o in opening if o.side == "BUY"), ZERO)
    asks = sum((o.remaining * o.price for o in opening if o.side == "SELL"), ZERO)
    held = position.quantity * mark
    if position.side != BOTH:
        return abs(held) + bids + asks
    return max(abs(held + bids), abs(held - asks), abs(held))


def _nonempty(engine: Engine) -> dict[str, dict[int, Order]]:
    return {symbol: book for symbol, book in engine.open_orders.items() if book}


def check_restart(engine: Engine) -> None:
    """What comes back from the file is what was there."""
    store = Store(None)
    store.write(rows_of(engine.drain()))
    again = Engine({s: RULES[s] for s in SYMBOLS}, Fees())
    again.restore(store.load())
    store.close()
    for symbol, market in engine.markets.items():
        again.markets[symbol].mark = market.mark
    assert again.accounts == engine.accounts
    assert again.positions == engine.positions
    assert again.open_orders == {
        s: book for s, book in engine.open_orders.items() if book or s in again.open_orders
    }
    assert list(again.income) == list(engine.income)
    assert again.funding.settled == engine.funding.settled
    assert list(again.clearing.margin_moves) == list(engine.clearing.margin_moves)
    assert again.clearing.next_move_id == engine.clearing.next_move_id
    assert (again.next_order_id, again.next_trade_id) == (engine.next_order_id, engine.next_trade_id)
    for account_id, account in engine.accounts.items():
        assert again.margin_of(again.accounts[account_id]) == engine.margin_of(account)


@settings(max_examples=40)
@given(st.lists(STEP, min_size=12, max_size=40))
def test_money_positions_and_margin_stay_consistent(steps: list[tuple[object, ...]]) -> None:
    world = World()
    for step in steps:
        world.do(step)
        for account in world.accounts:
            check_margin(world.engine, account)
    for _ in range(4):  # let a liquidation under way come to its end
        world.now_ms += 200
        world.engine.tick(world.now_ms)
    engine = world.engine
    check_money(engine)
    check_conservation(engine)
    for account in world.accounts:
        assert not account.liquidating
        assert account.wallets.get("BNB", ZERO) >= 0
        assert account.wallet >= 0 or engine.clearing.held_by(account)
        totals = engine.margin_of(account)
        assert totals.ratio < 1
        assert totals.cross_wallet >= 0 or totals.cross_maintenance
        assert all(leg.ratio < 1 for leg in totals.legs.values() if leg.isolated)
        assert all(p.isolated_wallet == 0 or p.quantity for p in engine.clearing.isolated_of(account))
    assert FUND_ID not in engine.account_by_key
    check_restart(engine)
