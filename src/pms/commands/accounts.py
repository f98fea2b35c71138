"""`pms account ...`: sub-accounts from the command line."""

from collections.abc import Callable, Mapping

from pms.commands import inputs
from pms.commands.opened import opened_ledger
from pms.ledger.api import Actor, NewAccount
from pms.ledger.errors import AccountNotFoundError
from pms.ledger.ledger import LedgerService
from pms.model.account import AccountStatus, LiquidationMode, SubAccount
from pms.model.money import plain
from pms.settings import SettingsError

Say = Callable[[str], None]
Overrides = Mapping[str, object]

ACTOR = Actor("system", "cli")


async def create(
    overrides: Overrides, name: str, owner: str | None, balance: str, mode: str, say: Say
) -> int:
    """Create a sub-account with an opening deposit from the house."""
    named, amount = inputs.account_name(name), inputs.opening_balance(balance)
    if mode not in LiquidationMode.__members__:
        raise SettingsError(f"--mode: must be one of {', '.join(LiquidationMode)}, was {mode!r}")
    async with opened_ledger(overrides, say, writing=True, create=True) as ledger:
        user = await ledger.directory.user_named(owner) if owner else None
        if owner and user is None:
            raise SettingsError(f"--owner: no user is named {owner!r}; create it with `pms user create`")
        new = NewAccount(named, user.id if user else None, amount, liquidation_mode=LiquidationMode(mode))
        account = await ledger.create_account(new, ACTOR)
        say(f"{account.id}  {account.name}  {plain(account.balance)} USDT")
    return 0


async def show(overrides: Overrides, say: Say) -> int:
    """List the sub-accounts."""
    async with opened_ledger(overrides, say, writing=False) as ledger:
        for account in ledger.accounts():
            say(f"{account.id}  {account.status.value:10}  {account.balance:>18.8f}  {account.name}")
    return 0


async def deposit(overrides: Overrides, account: str, amount: str, say: Say) -> int:
    """Move money from the house to an account."""
    moved = inputs.amount(amount)
    async with opened_ledger(overrides, say, writing=True) as ledger:
        found = find_account(ledger, account)
        changed = await ledger.deposit(found.id, moved, ACTOR)
        say(f"{changed.name}: {plain(changed.balance)} USDT")
    return 0


async def withdraw(overrides: Overrides, account: str, amount: str, say: Say) -> int:
    """Move money from an account to the house."""
    moved = inputs.amount(amount)
    async with opened_ledger(overrides, say, writing=True) as ledger:
        found = find_account(ledger, account)
        _require_unexposed(ledger, found, "withdraw")
        changed = await ledger.withdraw(found.id, moved, ACTOR)
        say(f"{changed.name}: {plain(changed.balance)} USDT")
    return 0


async def set_balance(overrides: Overrides, account: str, balance: str, say: Say) -> int:
    """Bring an account's balance to a figure, against the house."""
    wanted = inputs.opening_balance(balance)
    async with opened_ledger(overrides, say, writing=True) as ledger:
        found = find_account(ledger, account)
        if wanted < found.cash:
            _require_unexposed(ledger, found, "lower its balance")
        changed = await ledger.set_balance(found.id, wanted, ACTOR)
        say(f"{changed.name}: {plain(found.balance)} -> {plain(changed.balance)} USDT")
    return 0


async def transfer(overrides: Overrides, source: str, target: str, amount: str, say: Say) -> int:
    """Move money from one account to another."""
    moved = inputs.amount(amount)
    async with opened_ledger(overrides, say, writing=True) as ledger:
        giver, taker = find_account(ledger, source), find_account(ledger, target)
        _require_unexposed(ledger, giver, "transfer")
        for changed in await ledger.transfer_between(giver.id, taker.id, moved, ACTOR):
            say(f"{changed.name}: {plain(changed.balance)} USDT")
    return 0


async def reset(overrides: Overrides, account: str, say: Say) -> int:
    """Start an account anew with nothing; its history stays."""
    async with opened_ledger(overrides, say, writing=True) as ledger:
        changed = await ledger.reset_account(find_account(ledger, account).id, ACTOR)
        say(f"{changed.name}: {changed.status.value}, {plain(changed.balance)} USDT")
    return 0


async def close(overrides: Overrides, account: str, say: Say) -> int:
    """Close an account: its cash goes to the house and it is frozen."""
    async with opened_ledger(overrides, say, writing=True) as ledger:
        changed = await ledger.close_account(find_account(ledger, account).id, ACTOR)
        say(f"{changed.name}: {changed.status.value}, {plain(changed.balance)} USDT")
    return 0


async def write_off(overrides: Overrides, account: str, say: Say) -> int:
    """Let the insurance, then the house bear what a flat account owes."""
    async with opened_ledger(overrides, say, writing=True) as ledger:
        found = find_account(ledger, account)
        changed = await ledger.write_off(found.id, ACTOR)
        say(f"{changed.name}: owed {plain(found.owed)} -> {plain(changed.owed)} USDT")
    return 0


async def freeze(overrides: Overrides, account: str, thaw: bool, say: Say) -> int:
    """Freeze an account, or lift the freeze."""
    async with opened_ledger(overrides, say, writing=True) as ledger:
        found = find_account(ledger, account)
        status = AccountStatus.ACTIVE if thaw else AccountStatus.FROZEN
        changed = await ledger.set_status(found.id, status, ACTOR)
        say(f"{changed.name}: {changed.status.value}")
    return 0


def _require_unexposed(ledger: LedgerService, account: SubAccount, wanted: str) -> None:
    """Raise SettingsError while anything of an account is open: without prices nobody knows what its
    positions and orders need; the running engine does."""
    if _exposed(ledger, account):
        raise SettingsError(
            f"{account.name} has open positions or orders; start the engine and {wanted} by the API"
        )


def _exposed(ledger: LedgerService, account: SubAccount) -> bool:
    return any(position.sub_account_id == account.id for position in ledger.open_positions()) or any(
        order.sub_account_id == account.id for order in ledger.open_orders()
    )


def find_account(ledger: LedgerService, wanted: str) -> SubAccount:
    """Return the account of an id or a name. Raises AccountNotFoundError unless exactly one has it."""
    found = [account for account in ledger.accounts() if wanted in (account.id, account.name)]
    if len(found) != 1:
        what = "no sub-account has" if not found else f"{len(found)} sub-accounts have"
        raise AccountNotFoundError(f"{what} the id or name {wanted!r}; see `pms account list`")
    return found[0]
