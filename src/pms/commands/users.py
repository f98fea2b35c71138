"""`pms user ...`: users from the command line."""

from collections.abc import Callable, Mapping

from pms.commands import inputs
from pms.commands.opened import opened_ledger
from pms.gateway.passwords import hash_password, random_password
from pms.gateway.ports import Role, User, UserStatus
from pms.model.ids import UserId
from pms.runtime import SystemClock, SystemIds
from pms.settings import SettingsError

Say = Callable[[str], None]
Overrides = Mapping[str, object]


async def create(overrides: Overrides, username: str, password: str | None, admin: bool, say: Say) -> int:
    """Create an approved user."""
    named = inputs.username(username)
    chosen = inputs.password(password) or random_password(SystemIds())
    async with opened_ledger(overrides, say, writing=False, create=True) as ledger:
        user = User(
            id=UserId(SystemIds().uuid()),
            username=named,
            password_hash=await hash_password(chosen),
            role=Role.ADMIN if admin else Role.USER,
            status=UserStatus.APPROVED,
            api_key=None,
            created_at_ms=SystemClock().now_ms(),
        )
        if not await ledger.directory.add_user(user):
            raise SettingsError(f"a user named {username!r} exists; set a password with `pms user passwd`")
    _told(say, username, password, chosen)
    return 0


async def show(overrides: Overrides, say: Say) -> int:
    """List users, newest first."""
    async with opened_ledger(overrides, say, writing=False) as ledger:
        for user in await ledger.directory.users():
            say(f"{user.id}  {user.role.value:5}  {user.status.value:8}  {user.username}")
    return 0


async def set_password(overrides: Overrides, username: str, password: str | None, say: Say) -> int:
    """Set a password; a session that is open stays open until it expires."""
    chosen = inputs.password(password) or random_password(SystemIds())
    async with opened_ledger(overrides, say, writing=False) as ledger:
        user = await ledger.directory.user_named(username)
        if user is None:
            raise SettingsError(f"no user is named {username!r}; see `pms user list`")
        await ledger.directory.set_password_hash(user.id, await hash_password(chosen))
    _told(say, username, password, chosen)
    return 0


def _told(say: Say, username: str, given: str | None, chosen: str) -> None:
    say(f"{username}: password set" if given else f"{username}: password {chosen}   (shown only this once)")
