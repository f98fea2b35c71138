"""Reads the whole book from a database, and finds what must be adopted or recorded."""

from dataclasses import dataclass, field
from decimal import Decimal

from pms.ledger.api import HouseLineKind, HousePosition
from pms.ledger.book import AccountRecord, Book, ExchangeMirror, HouseLimit, OrderRecord, RulesRecord
from pms.ledger.load_control import load_control
from pms.ledger.load_funding import load_funding
from pms.ledger.load_liquidations import load_liquidations
from pms.ledger.load_pools import load_pools
from pms.ledger.reader import Reader
from pms.ledger.rendering import Row, agrees
from pms.ledger.store import Store
from pms.model.account import (
    AccountStatus,
    LiquidationMode,
    Position,
    PositionSide,
    PositionStatus,
    RiskRules,
    SubAccount,
)
from pms.model.ids import (
    ClientOrderId,
    ExchangeAccountId,
    ExchangeOrderId,
    PendingOrderId,
    PositionId,
    SubAccountId,
    UserId,
)
from pms.model.money import ZERO, Money, Price, Quantity
from pms.model.order import (
    ExchangeOrderStatus,
    JournalOrder,
    OrderCode,
    OrderSide,
    OrderState,
    OrderType,
    TimeInForce,
)
from pms.model.symbol import Symbol

TERMINAL_STATES = tuple(state.value for state in OrderState if state.terminal)
EVERY_OTHER_SYMBOL = "*"
OPEN_STATES = tuple(state.value for state in OrderState if not state.terminal)


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """A row of the incumbent's that the ledger has no exact value for yet (adoption), or that differs from
    it."""

    table: str
    id: str
    note: str


@dataclass(slots=True)
class Loaded:
    """A book read from the database, and what was found on the way."""

    book: Book
    sequence_max: int = 0
    accounts_to_adopt: list[SubAccount] = field(default_factory=list)
    positions_to_adopt: list[Position] = field(default_factory=list)
    external_writes: list[ForeignRow] = field(default_factory=list)
    registered: bool = False


def read_account(row: Row, balance: Decimal, owed: Decimal) -> SubAccount:
    """Return a sub-account from its row and its exact figures."""
    reader = Reader("sub_accounts", row)
    user = reader.text_or_none("user_id")
    mode = reader.text("liquidation_mode")
    known_mode = mode in LiquidationMode.__members__
    return SubAccount(
        id=SubAccountId(reader.text("id")),
        user_id=None if user is None else UserId(user),
        name=reader.text("name"),
        type=reader.text("type"),
        initial_balance=Money(reader.exact("initial_balance")),
        balance=Money(balance),
        owed=Money(owed),
        status=AccountStatus(reader.text("status")),
        liquidation_mode=LiquidationMode(mode) if known_mode else LiquidationMode.ADL_30,  # ledger spec 1.2
        maintenance_rate=reader.exact("maintenance_rate"),
        created_at_ms=reader.number("created_at"),
        updated_at_ms=reader.number("updated_at"),
    )


def read_position(row: Row, quantity: Decimal, cost: Decimal, leverage: Decimal, revision: int) -> Position:
    """Return a position from its `virtual_positions` row and its exact figures."""
    reader = Reader("virtual_positions", row)
    return Position(
        id=PositionId(reader.text("id")),
        sub_account_id=SubAccountId(reader.text("sub_account_id")),
        symbol=Symbol(reader.text("symbol")),
        side=PositionSide(reader.text("side")),
        quantity=Quantity(quantity),
        cost=Money(cost),
        leverage=leverage,
        liquidation_price=Price(reader.exact("liquidation_price")),
        status=PositionStatus(reader.text("status")),
        babysitter_excluded=reader.flag("babysitter_excluded"),
        opened_at_ms=reader.number("opened_at"),
        revision=revision,
    )


def read_order(row: Row) -> OrderRecord:
    """Return a journal order from its row."""
    reader = Reader("pms_order_journal", row)
    owner = reader.text_or_none("sub_account_id")
    price = reader.exact_or_none("price")
    exchange_id = reader.text_or_none("exchange_order_id")
    position_id = reader.text_or_none("position_id")
    pending_id = reader.text_or_none("pending_order_id")
    final = reader.text_or_none("final_status")
    order = JournalOrder(
        sequence=reader.number("sequence"),
        client_order_id=ClientOrderId(reader.text("client_order_id")),
        sub_account_id=None if owner is None else SubAccountId(owner),
        symbol=Symbol(reader.text("symbol")),
        side=OrderSide(reader.text("side")),
        type=OrderType(reader.text("type")),
        time_in_force=TimeInForce(reader.text("time_in_force")),
        quantity=Quantity(reader.exact("quantity")),
        price=None if price is None else Price(price),
        leverage=reader.exact("leverage"),
        reduce_only=reader.flag("reduce_only"),
        reduce_only_wire=reader.flag("reduce_only_wire"),
        code=OrderCode(reader.text("code")),
        action=reader.text("action"),
        origin=reader.text("origin"),
        state=OrderState(reader.text("state")),
        executed_quantity=Quantity(reader.exact("executed_quantity")),
        booked_quantity=Quantity(reader.exact("booked_quantity")),
        created_at_ms=reader.number("created_at"),
        timestamp_ms=reader.number("timestamp_ms"),
        recv_window_ms=reader.number("recv_window_ms"),
        exchange_order_id=None if exchange_id is None else ExchangeOrderId(exchange_id),
        position_id=None if position_id is None else PositionId(position_id),
        pending_order_id=None if pending_id is None else PendingOrderId(pending_id),
        babysitter_excluded=reader.flag("babysitter_excluded"),
        idempotency_key=reader.text_or_none("idempotency_key"),
        reject_code=reader.text_or_none("reject_code"),
        reject_message=reader.text_or_none("reject_message"),
    )
    return OrderRecord(
        order, reader.exact("booked_notional"), None if final is None else ExchangeOrderStatus(final)
    )


async def load_book(store: Store, ours: ExchangeAccountId) -> Loaded:
    """Read everything that decisions need; memory grows with accounts, open positions and live orders
    only."""
    loaded = Loaded(Book())
    await _load_identity(store, ours, loaded)
    await _load_accounts(store, ours, loaded)
    await _load_positions(store, ours, loaded)
    await _load_rules(store, loaded.book)
    await _load_orders(store, ours, loaded)
    await load_pools(store, ours, loaded.book)
    await _load_house(store, ours, loaded)
    await load_control(store, ours, loaded.book)
    await load_liquidations(store, ours, loaded.book)
    await load_funding(store, ours, loaded.book)
    sql = (
        "SELECT e.sub_account_id, (SELECT max(sequence) FROM pms_outbox o WHERE o.sub_account_id"
        " = e.sub_account_id AND o.exchange_account_id = e.exchange_account_id) AS last"
        " FROM pms_account_exact e WHERE e.exchange_account_id = ?"
    )
    for row in await store.fetch(sql, ours):
        loaded.book.event_sequence.set(SubAccountId(str(row["sub_account_id"])), int(str(row["last"] or 0)))
    return loaded


async def _load_identity(store: Store, ours: ExchangeAccountId, loaded: Loaded) -> None:
    rows = await store.fetch("SELECT * FROM pms_exchange_accounts WHERE exchange_account_id = ?", ours)
    loaded.registered = bool(rows)
    for row in rows:
        reader = Reader("pms_exchange_accounts", row)
        loaded.book.epoch = reader.text("epoch")
        loaded.book.event_epoch = reader.text("event_epoch")
        loaded.book.registered_at_ms = reader.number("created_at")
        loaded.book.wallet_adopted = reader.exact_or_none("wallet_adopted")
        # After its registration the row changes at an adoption only, and then holds the adoption's time.
        loaded.book.adopted_at_ms = reader.number("updated_at")
    sql = "SELECT link, hash FROM pms_commit_links WHERE exchange_account_id = ? ORDER BY link DESC LIMIT 1"
    for row in await store.fetch(sql, ours):
        loaded.book.link = int(str(row["link"]))
        loaded.book.link_hash = str(row["hash"])


async def _load_accounts(store: Store, ours: ExchangeAccountId, loaded: Loaded) -> None:
    sql = (
        "SELECT a.*, e.balance AS exact_balance, e.revision AS exact_revision, o.amount AS owed_amount"
        " FROM sub_accounts a JOIN pms_account_exact e ON e.sub_account_id = a.id"
        " LEFT JOIN pms_owed o ON o.sub_account_id = a.id AND o.exchange_account_id = e.exchange_account_id"
        " WHERE e.exchange_account_id = ?"
    )
    for row in await store.fetch(sql, ours):
        balance = Decimal(str(row["exact_balance"]))
        owed = row["owed_amount"]
        account = read_account(row, balance, ZERO if owed is None else Decimal(str(owed)))
        loaded.book.accounts.set(account.id, AccountRecord(account, int(str(row["exact_revision"]))))
        if owed is not None:
            loaded.book.owed_rows.set(account.id, True)
        if not agrees(Reader("sub_accounts", row).exact("current_balance"), balance):
            note = f"current_balance is {row['current_balance']}, the ledger has {balance}"
            loaded.external_writes.append(ForeignRow("sub_accounts", account.id, note))
    sql = (
        "SELECT * FROM sub_accounts a"
        " WHERE NOT EXISTS (SELECT 1 FROM pms_account_exact e WHERE e.sub_account_id = a.id)"
    )
    for row in await store.fetch(sql):
        balance = Reader("sub_accounts", row).exact("current_balance")
        loaded.accounts_to_adopt.append(read_account(row, balance, ZERO))


async def _load_positions(store: Store, ours: ExchangeAccountId, loaded: Loaded) -> None:
    sql = (
        "SELECT p.*, e.quantity AS exact_quantity, e.cost AS exact_cost, e.leverage AS exact_leverage,"
        " e.revision AS exact_revision"
        " FROM pms_position_exact e JOIN virtual_positions p ON p.id = e.position_id"
        " WHERE e.exchange_account_id = ? AND e.status = 'OPEN'"
    )
    book = loaded.book
    for row in await store.fetch(sql, ours):
        quantity = Decimal(str(row["exact_quantity"]))
        cost = Decimal(str(row["exact_cost"]))
        leverage = Decimal(str(row["exact_leverage"]))
        position = read_position(row, quantity, cost, leverage, int(str(row["exact_revision"])))
        if row["status"] != "OPEN" or not agrees(
            Reader("virtual_positions", row).exact("quantity"), quantity
        ):
            note = f"the row says {row['status']} {row['quantity']}, the ledger has OPEN {quantity}"
            loaded.external_writes.append(ForeignRow("virtual_positions", position.id, note))
        add_open_position(book, position)
    sql = (
        "SELECT * FROM virtual_positions p WHERE status = 'OPEN'"
        " AND NOT EXISTS (SELECT 1 FROM pms_position_exact e WHERE e.position_id = p.id)"
    )
    for row in await store.fetch(sql):
        reader = Reader("virtual_positions", row)
        quantity = reader.exact("quantity")
        cost = reader.exact("entry_price") * quantity
        loaded.positions_to_adopt.append(read_position(row, quantity, cost, reader.exact("leverage"), 1))


def add_open_position(book: Book, position: Position) -> None:
    """Index an open position in a book."""
    book.positions.set(position.id, position)
    book.open_index.set((position.sub_account_id, position.symbol), position.id)
    net = (book.virtual_net.get(position.symbol) or ZERO) + position.signed_quantity
    book.virtual_net.set(position.symbol, net)


async def _load_rules(store: Store, book: Book) -> None:
    for row in await store.fetch("SELECT * FROM risk_rules ORDER BY id"):
        reader = Reader("risk_rules", row)
        owner = reader.text_or_none("sub_account_id")
        if owner is None and not reader.flag("is_global"):
            continue
        rules = RiskRules(
            reader.exact("max_leverage"),
            reader.exact("max_notional_per_trade"),
            reader.exact("max_total_exposure"),
            reader.exact("liquidation_threshold"),
        )
        key = None if owner is None else SubAccountId(owner)
        book.rules.set(key, RulesRecord(reader.text("id"), rules))


async def _load_orders(store: Store, ours: ExchangeAccountId, loaded: Loaded) -> None:
    marks = ", ".join("?" * len(OPEN_STATES))
    sql = "SELECT * FROM pms_order_journal WHERE exchange_account_id = ?"
    sql += f" AND state IN ({marks}) ORDER BY sequence"
    for row in await store.fetch(sql, ours, *OPEN_STATES):
        record = read_order(row)
        loaded.book.orders.set(record.order.client_order_id, record)
        if record.order.pending_order_id is not None:
            loaded.book.pending_index.set(record.order.pending_order_id, record.order.client_order_id)
    sql = "SELECT max(sequence) AS last FROM pms_order_journal WHERE exchange_account_id = ?"
    for row in await store.fetch(sql, ours):
        loaded.sequence_max = int(str(row["last"] or 0))


async def _load_house(store: Store, ours: ExchangeAccountId, loaded: Loaded) -> None:
    book = loaded.book
    for row in await store.fetch("SELECT * FROM pms_exchange_positions WHERE exchange_account_id = ?", ours):
        reader = Reader("pms_exchange_positions", row)
        symbol = Symbol(reader.text("symbol"))
        quantity, cost = reader.exact("signed_quantity"), reader.exact("signed_cost")
        book.mirror.set(symbol, ExchangeMirror(symbol, quantity, cost, reader.number("last_trade_id")))
    cash: dict[HouseLineKind, Decimal] = {}
    held: dict[Symbol, tuple[Decimal, Decimal]] = {}
    sql = (
        "SELECT kind, symbol, signed_quantity, signed_cost, cash FROM pms_house_lines"
        " WHERE exchange_account_id = ?"
    )
    for row in await store.fetch(sql, ours):
        reader = Reader("pms_house_lines", row)
        kind = HouseLineKind(reader.text("kind"))
        cash[kind] = cash.get(kind, ZERO) + reader.exact("cash")
        name = reader.text_or_none("symbol")
        if name is not None:
            quantity, cost = held.get(Symbol(name), (ZERO, ZERO))
            held[Symbol(name)] = (
                quantity + reader.exact("signed_quantity"),
                cost + reader.exact("signed_cost"),
            )
    for row in await store.fetch("SELECT * FROM pms_house_limits WHERE exchange_account_id = ?", ours):
        reader = Reader("pms_house_limits", row)
        scope = None if row["symbol"] == EVERY_OTHER_SYMBOL else Symbol(reader.text("symbol"))
        book.house_limits.set(scope, HouseLimit(reader.exact_or_none("notional_max")))
    for kind, amount in cash.items():
        book.house_cash.set(kind, amount)
    for symbol, (quantity, cost) in held.items():
        book.house.set(symbol, HousePosition(symbol, quantity, cost))
