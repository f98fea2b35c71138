"""Wires execution, risk and synchronisation of one engine together: what is built from what."""

from dataclasses import dataclass

from pms.bus.hub import EventHub
from pms.bus.port import SharedState
from pms.bus.prices import PriceBoard
from pms.bus.projection import StateProjection
from pms.exchange.amending import Amender
from pms.exchange.binance.adapter import BinanceExchange
from pms.execution.admission import Admission, TradingSwitches
from pms.execution.amending import OrderAmending
from pms.execution.control import Enforcer
from pms.execution.exchange_net import ExchangeNet
from pms.execution.holdings import Holdings
from pms.execution.house import HouseDesk
from pms.execution.house_orders import HouseOrders
from pms.execution.liquidator import Liquidator
from pms.execution.live_orders import LiveOrders
from pms.execution.orders import OrderRunner
from pms.execution.pools import PoolAllocator
from pms.execution.previews import Previews
from pms.execution.prices import Prices
from pms.execution.publisher import Publisher
from pms.execution.queues import AccountQueues
from pms.execution.real_account import RealAccount
from pms.execution.real_ladder import RealLadder
from pms.execution.resolver import DoubtResolver
from pms.execution.rules import RuleWatch
from pms.execution.sender import OrderSender
from pms.execution.service import Trader
from pms.execution.tracker import OrderTracker
from pms.execution.views import Views
from pms.execution.worlds import Worlds
from pms.ledger.ledger import LedgerService
from pms.limits import ORDER_RESULT_DEADLINE_MS, QUEUED_COMMANDS_PER_ACCOUNT_MAX
from pms.model.clock import Clock
from pms.model.symbol import Symbol
from pms.risk.book import RiskBook
from pms.risk.gate import FlipMode
from pms.risk.kernel import kernel_named
from pms.risk.maintenance import MaintenanceBasis, bracket_tables
from pms.settings import HousePolicy, MaintenanceModel, Settings
from pms.sync.account_guard import AccountGuard
from pms.sync.brackets import BracketReader, BracketsBySymbol
from pms.sync.exchange_closes import ExchangeCloses
from pms.sync.funding import ExecutionsRead, FundingBooker
from pms.sync.income import IncomeReader
from pms.sync.recovery import GapFiller
from pms.sync.user_events import FillBooker, UserEventProcessor


@dataclass(frozen=True, slots=True)
class Core:
    """The state that the acting parts share, in memory, following the ledger's commits."""

    ledger: LedgerService
    exchange: BinanceExchange
    clock: Clock
    hub: EventHub
    switches: TradingSwitches
    live_orders: LiveOrders
    queues: AccountQueues
    tracker: OrderTracker
    net: ExchangeNet
    prices: Prices
    holdings: Holdings
    views: Views
    projection: StateProjection
    maintenance: MaintenanceBasis
    brackets: BracketReader
    worlds: Worlds


@dataclass(frozen=True, slots=True)
class Wired:
    """The acting parts."""

    core: Core
    resolver: DoubtResolver
    gap_filler: GapFiller
    funding: FundingBooker
    income: IncomeReader
    sender: OrderSender
    trader: Trader
    allocator: PoolAllocator
    house: HouseDesk
    liquidator: Liquidator
    publisher: Publisher
    events: UserEventProcessor
    guard: AccountGuard
    real: RealAccount
    real_ladder: RealLadder
    exchange_closes: ExchangeCloses
    enforcer: Enforcer
    rule_watch: RuleWatch


def build_core(
    ledger: LedgerService, exchange: BinanceExchange, state: SharedState, settings: Settings, clock: Clock
) -> Core:
    """Build the shared state from the committed book."""
    prices, net = Prices(clock), ExchangeNet()
    holdings = Holdings(ledger.open_positions(), ledger.event_sequence)
    hub = EventHub()
    projection = StateProjection(
        state,
        clock,
        ledger.event_epoch,
        prices=PriceBoard(settings.published_price),
        snapshot_ttl_ms=settings.risk_snapshot_ttl_seconds * 1000,
    )
    hub.add_sink(projection.event)
    maintenance, brackets = MaintenanceBasis(), BracketReader(exchange.market, clock)
    live_orders, views = LiveOrders(), Views(ledger, holdings, prices, net, clock, maintenance)
    return Core(
        ledger=ledger,
        exchange=exchange,
        clock=clock,
        hub=hub,
        switches=TradingSwitches(),
        live_orders=live_orders,
        queues=AccountQueues(QUEUED_COMMANDS_PER_ACCOUNT_MAX),
        tracker=OrderTracker(),
        net=net,
        prices=prices,
        holdings=holdings,
        views=views,
        projection=projection,
        maintenance=maintenance,
        brackets=brackets,
        worlds=Worlds(ledger, live_orders, prices, exchange.account, net, views.identity_of),
    )


def wire(core: Core, settings: Settings) -> Wired:
    """Build the acting parts and connect them; prices start to flow for everything that is held."""
    ledger, exchange = core.ledger, core.exchange
    booker = FillBooker(ledger, exchange.config.settle_asset, core.prices.mark_price)
    resolver = DoubtResolver(ledger, exchange.trading, exchange.account, booker.book, core.clock)
    gap_filler = GapFiller(
        ledger, exchange.account, resolver, booker.book, core.net, core.clock, settings.recv_window_ms
    )
    sender = OrderSender(ledger, exchange.trading, core.live_orders, resolver, core.clock)
    real = RealAccount(
        exchange.account, exchange.market, ledger, core.live_orders, core.prices, core.switches, core.clock
    )
    book = RiskBook(kernel_named(settings.risk_kernel))
    rule_watch = RuleWatch(ledger, book, core.holdings, core.prices, core.clock)
    admission = _admission(core, settings, real, rule_watch)
    ledger.on_commit(admission.on_commit)
    trader, allocator, house = _trading(
        core, sender, resolver, admission, _previews(core, book, real), settings
    )
    enforcer = Enforcer(ledger, trader, admission, core.holdings, core.live_orders, core.switches, core.clock)
    liquidator = _liquidator(core, trader)
    publisher = _publisher(core, liquidator, book)
    if settings.maintenance is MaintenanceModel.BRACKETS:
        _follow_brackets(core, publisher)
    core.brackets.on_change(real.take_brackets)
    guard = AccountGuard(
        exchange.account,
        core.switches,
        lambda: used_symbols(core),
        core.clock,
        on_leverages=real.take_leverages,
    )
    events = UserEventProcessor(
        ledger, booker, resolver, core.net, gap_filler, publisher.on_position_report, guard.recheck, real
    )
    ladder, closes = _ladder(core, real, trader), _exchange_closes(core)
    booker.on_booked = closes.note
    _listen(core, publisher, real, allocator, house, enforcer, rule_watch)
    return Wired(
        core=core,
        resolver=resolver,
        gap_filler=gap_filler,
        funding=_funding(core, gap_filler, events),
        income=IncomeReader(ledger, exchange.account, exchange.config.settle_asset, core.clock),
        sender=sender,
        trader=trader,
        allocator=allocator,
        house=house,
        liquidator=liquidator,
        publisher=publisher,
        events=events,
        guard=guard,
        real=real,
        real_ladder=ladder,
        exchange_closes=closes,
        enforcer=enforcer,
        rule_watch=rule_watch,
    )


def _listen(
    core: Core,
    publisher: Publisher,
    real: RealAccount,
    allocator: PoolAllocator,
    house: HouseDesk,
    enforcer: Enforcer,
    rule_watch: RuleWatch,
) -> None:
    """Connect commits and prices: memory and risk first, then whoever acts on them."""
    for part in (publisher, real, allocator, house, enforcer, rule_watch):
        core.ledger.on_commit(part.on_commit)
    market = core.exchange.market
    market.on_mark(publisher.take_mark)
    market.on_mark(real.take_mark)
    market.on_mark(rule_watch.on_mark)
    market.on_book(publisher.take_book)
    for symbol in used_symbols(core):
        market.subscribe(symbol)


def _liquidator(core: Core, trader: Trader) -> Liquidator:
    return Liquidator(
        core.ledger,
        trader,
        core.holdings,
        core.live_orders,
        core.prices,
        core.switches,
        core.exchange.market.rules,
        core.maintenance,
        core.hub,
        core.clock,
    )


def _follow_brackets(core: Core, publisher: Publisher) -> None:
    def take(brackets: BracketsBySymbol) -> None:
        tables = bracket_tables(brackets)
        core.maintenance.take(tables)
        publisher.take_brackets(tables.ticks)

    core.brackets.on_change(take)


def _ladder(core: Core, real: RealAccount, trader: Trader) -> RealLadder:
    return RealLadder(
        real,
        trader,
        core.ledger,
        core.holdings,
        core.live_orders,
        core.prices,
        core.exchange.market.rules,
        core.hub,
        core.clock,
    )


def _exchange_closes(core: Core) -> ExchangeCloses:
    return ExchangeCloses(
        core.ledger,
        core.holdings,
        core.live_orders,
        core.net,
        core.prices,
        core.exchange.market.rules,
        core.clock,
    )


def _funding(core: Core, gap_filler: GapFiller, events: UserEventProcessor) -> FundingBooker:
    executions = ExecutionsRead(gap_filler, events.last_event_ms, core.exchange.now_ms)
    return FundingBooker(
        core.ledger,
        core.exchange.market,
        lambda: used_symbols(core),
        core.prices.mark,
        executions.through,
        core.exchange.now_ms,
        core.clock,
    )


def used_symbols(core: Core) -> tuple[Symbol, ...]:
    """Return the symbols that were ever traded here or are held."""
    return tuple(dict.fromkeys((*core.ledger.fill_symbols(), *core.holdings.symbols())))


def _admission(core: Core, settings: Settings, real: RealAccount, rule_watch: RuleWatch) -> Admission:
    return Admission(
        core.ledger,
        core.live_orders,
        core.holdings,
        core.prices,
        core.worlds,
        core.switches,
        core.exchange.market.rules,
        FlipMode(settings.flip_mode.value),
        core.maintenance,
        settings.open_orders_quota,
        rule_watch,
        real.purse,
    )


def _trading(
    core: Core,
    sender: OrderSender,
    resolver: DoubtResolver,
    admission: Admission,
    previews: Previews,
    settings: Settings,
) -> tuple[Trader, PoolAllocator, HouseDesk]:
    ledger, deadline_seconds = core.ledger, ORDER_RESULT_DEADLINE_MS / 1000
    allocator = PoolAllocator(ledger, core.clock)
    runner = OrderRunner(ledger, sender, core.tracker, core.clock, deadline_seconds)
    house_orders = HouseOrders(
        ledger, core.live_orders, runner, core.tracker, allocator, core.prices, deadline_seconds
    )
    house = HouseDesk(
        ledger,
        core.worlds,
        core.live_orders,
        house_orders,
        admission,
        core.switches,
        admission.symbol_rules,
        core.clock,
        unwinds=settings.house_policy is HousePolicy.UNWIND,
    )
    trader = Trader(
        ledger,
        core.exchange.trading,
        core.exchange.market,
        core.worlds,
        admission,
        runner,
        core.tracker,
        resolver,
        core.queues,
        core.live_orders,
        core.views,
        previews,
        OrderAmending(
            core.ledger,
            admission,
            core.queues,
            core.live_orders,
            resolver,
            Amender(core.exchange.trading, core.clock, core.exchange.now_ms, ORDER_RESULT_DEADLINE_MS / 1000),
        ),
        house_orders,
        core.switches,
        house.offers,
    )
    return trader, allocator, house


def _previews(core: Core, book: RiskBook, real: RealAccount) -> Previews:
    return Previews(
        core.ledger,
        book,
        core.holdings,
        core.prices,
        core.net,
        core.exchange.market.rules,
        core.maintenance,
        lambda: real.figures().margin_balance if real.known else None,
    )


def _publisher(core: Core, liquidator: Liquidator, book: RiskBook) -> Publisher:
    return Publisher(
        core.ledger,
        book,
        core.holdings,
        core.live_orders,
        core.tracker,
        core.prices,
        core.views,
        core.hub,
        core.projection,
        liquidator.consider,
        core.clock,
    )
