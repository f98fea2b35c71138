"""An independent account of money for random histories: what everybody must be worth, hold, and be paid, from
the executions and transfers that a test made and the parts that the ledger says it gave to whom."""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from pms.ledger.journal_rows import decoded
from pms.ledger.store import Store
from pms.model.fill import ExchangeFill
from pms.model.ids import SubAccountId
from pms.model.income import FundingKey, FundingRate
from pms.model.money import ZERO
from pms.model.order import OrderSide
from pms.model.symbol import Symbol

Row = dict[str, object]


@dataclass(slots=True)
class RealAccount:
    """The exchange's side: wallet, position and average cost of each symbol, as fractions."""

    wallet: Fraction
    held: dict[Symbol, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    cost: dict[Symbol, Fraction] = field(default_factory=lambda: defaultdict(Fraction))

    def execute(self, fill: ExchangeFill, fee: Decimal) -> None:
        """Realise at average cost what reduces; the rest opens at the fill's price."""
        symbol, price = fill.symbol, Fraction(fill.price)
        held, quantity = self.held[symbol], Fraction(fill.quantity) * fill.side.sign
        if held * quantity < 0:
            closed = min(abs(held), abs(quantity)) * (1 if quantity > 0 else -1)
            part = self.cost[symbol] * -closed / held
            self.wallet -= closed * price + part
            self.cost[symbol] -= part
            self.held[symbol] += closed
            quantity -= closed
        self.held[symbol] += quantity
        self.cost[symbol] += quantity * price
        self.wallet -= Fraction(fee)


@dataclass(slots=True)
class Oracle:
    """Fed with what a test did; `follow` adds what the ledger's rows say since, and judges them."""

    capital: Decimal
    fee_rate: Decimal
    real: RealAccount = field(init=False)
    whole: Decimal = field(init=False)
    worth: dict[SubAccountId, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    held: dict[tuple[SubAccountId, Symbol], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    moves: list[tuple[Symbol, int, SubAccountId, Decimal]] = field(default_factory=list)
    fundings: dict[FundingKey, FundingRate] = field(default_factory=dict)
    executions: dict[tuple[int, str], tuple[ExchangeFill, Decimal, SubAccountId | None]] = field(
        default_factory=dict
    )
    booked: set[tuple[int, str]] = field(default_factory=set)
    link: int = 0

    def __post_init__(self) -> None:
        self.real, self.whole = RealAccount(Fraction(self.capital)), self.capital

    # --- what the test did ----------------------------------------------------------------------------------
    def execute(self, fill: ExchangeFill, fee: str, owner: SubAccountId | None) -> None:
        """The exchange executed it, and the ledger was told."""
        key = (int(fill.trade_id), str(fill.order_id))
        assert key not in self.executions
        self.executions[key] = (fill, Decimal(fee), owner)
        self.real.execute(fill, Decimal(fee))
        self.whole -= fill.side.sign * fill.quantity * fill.price + Decimal(fee)

    def receive(self, amount: Decimal) -> None:
        """The real account received an income line."""
        self.real.wallet += Fraction(amount)
        self.whole += amount

    def received_by(self, account: SubAccountId) -> Decimal:
        """Return what the account must have received by fundings, from what it held at their moments."""
        total = ZERO
        for funding in self.fundings.values():
            held = sum(
                (
                    signed
                    for symbol, moment, owner, signed in self.moves
                    if owner == account and symbol == funding.key.symbol and moment < funding.key.time_ms
                ),
                ZERO,
            )
            total += (-held * funding.mark_price * funding.rate).quantize(
                Decimal("1e-8"), rounding=ROUND_HALF_UP
            )
        return total

    # --- what the ledger says -------------------------------------------------------------------------------
    async def follow(self, store: Store) -> None:
        """Read the rows of the commits since the last call."""
        after, self.link = self.link, await _last_link(store)
        if after == self.link:
            return
        sql = "SELECT * FROM {} WHERE link > ? AND link <= ?"
        tables: dict[str, list[Row]] = {}
        for name in ("pms_fills", "pms_fill_allocations", "pms_house_lines"):
            rows = await store.fetch(sql.format(name), after, self.link)
            tables[name] = [dict(decoded(name, row)) for row in rows]
        parts: dict[object, list[Row]] = defaultdict(list)
        for part in tables["pms_fill_allocations"]:
            parts[part["fill_id"]].append(part)
        for fill in tables["pms_fills"]:
            self._judge(fill, parts.pop(fill["id"], []))
        assert not parts, "invariant 2: every part belongs to a fill"
        for line in tables["pms_house_lines"]:
            self._follow_house(line)

    def _judge(self, fill: Row, parts: list[Row]) -> None:
        """Invariant 2: an execution is booked once, and its parts are the fill; 9: an internal movement
        changes no sum."""
        signed = [OrderSide(str(part["side"])).sign * _exact(part["quantity"]) for part in parts]
        fees = sum((_exact(part["fee"]) for part in parts), ZERO)
        assert all(part["price"] == fill["price"] for part in parts)
        if fill["kind"] == "EXCHANGE":
            key = (int(str(fill["trade_id"])), str(fill["order_id"]))
            assert key in self.executions, "booked what nobody executed"
            assert key not in self.booked, "invariant 2: booked twice"
            self.booked.add(key)
            told, fee, owner = self.executions[key]
            assert sum(signed) == told.side.sign * told.quantity, "invariant 2: the parts are the fill"
            assert {part["side"] for part in parts} == {told.side.value}
            assert abs(fees - fee) < Decimal("1e-9")
            owners = {part["sub_account_id"] for part in parts} - {None}
            assert owner is None or owners <= {owner}, "an own order is its owner's or the house's"
        else:
            assert sum(signed) == 0, "decision 9: the legs of a movement cancel"
            assert fees == 0
        for part, moved in zip(parts, signed, strict=True):
            if part["sub_account_id"] is not None:
                account, symbol = SubAccountId(str(part["sub_account_id"])), Symbol(str(part["symbol"]))
                self.worth[account] -= moved * _exact(part["price"]) + _exact(part["fee"])
                self.held[account, symbol] += moved
                self.moves.append((symbol, int(str(fill["trade_time"])), account, moved))

    def _follow_house(self, line: Row) -> None:
        """Liquidation fees that accounts paid, and debts that insurance or house bore for them."""
        if line["sub_account_id"] is None:
            return
        account, cash = SubAccountId(str(line["sub_account_id"])), _exact(line["cash"])
        if line["reference"] == "WRITE_OFF":
            assert cash < 0
            self.worth[account] -= cash
        elif line["kind"] == "INSURANCE":
            assert cash > 0
            self.worth[account] -= cash


async def _last_link(store: Store) -> int:
    rows = await store.fetch("SELECT max(link) AS last FROM pms_commit_links")
    return int(str(rows[0]["last"] or 0))


def _exact(value: object) -> Decimal:
    assert isinstance(value, Decimal)
    return value
