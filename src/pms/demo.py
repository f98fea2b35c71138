"""The demo: three funded sub-accounts on the simulator, two of them holding opposite sides of one symbol."""

from collections.abc import Callable
from decimal import Decimal

from pms.execution.api import MarketRequest, TradingService
from pms.ledger.api import Actor, Ledger, NewAccount
from pms.model.account import LiquidationMode, PositionSide, RiskRules
from pms.model.ids import UserId
from pms.model.money import Money
from pms.model.refusal import Refused
from pms.model.symbol import Symbol

DEMO_ACTOR = Actor("system", "cli")
DEMO_BALANCE = Money(Decimal(10_000))
DEMO_ACCOUNTS = {
    "Alice": LiquidationMode.ADL_30,
    "Bob": LiquidationMode.INSTANT_CLOSE,
    "Carol": LiquidationMode.TAKEOVER,
}
"""Each account shows one mode of liquidation (docs/decisions/0017)."""

DEMO_SYMBOL = Symbol("BTC/USDT:USDT")
DEMO_RULES = RiskRules(
    leverage_max=Decimal(50),
    notional_per_trade_max=Decimal(50_000),
    exposure_max=Decimal(200_000),
    liquidation_threshold=Decimal("0.90"),
)
"""Wide enough to trade whole bitcoins' tenths on 10,000 USDT; the incumbent's default of 200 USDT a trade is
not."""

DEMO_POSITIONS = (("Alice", PositionSide.LONG, Decimal("0.05")), ("Bob", PositionSide.SHORT, Decimal("0.03")))


async def seed(
    ledger: Ledger, trading: TradingService, owner: UserId | None, say: Callable[[str], None]
) -> None:
    """Create the demo accounts and their first positions; does nothing when any sub-account exists."""
    if ledger.accounts():
        return
    accounts = {}
    for name, mode in DEMO_ACCOUNTS.items():
        new = NewAccount(name, owner, DEMO_BALANCE, liquidation_mode=mode)
        account = await ledger.create_account(new, DEMO_ACTOR)
        await ledger.set_rules(account.id, DEMO_RULES, DEMO_ACTOR)
        accounts[name] = account.id
    say(f"created {len(accounts)} demo accounts with {DEMO_BALANCE:,} USDT each")
    for name, side, quantity in DEMO_POSITIONS:
        request = MarketRequest(accounts[name], DEMO_SYMBOL, side, quantity, Decimal(10))
        result = await trading.market(request, DEMO_ACTOR)
        if isinstance(result, Refused):
            say(f"demo position of {name} was refused: {result.refusals[0].message}")
        else:
            say(f"{name} is {side.value} {quantity} {DEMO_SYMBOL}")
