"""Who is asking: sessions, API keys, and the user's present status, never older than 5 s (gateway spec 3)."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from pms.gateway.bounds import PRINCIPALS_CACHED_MAX
from pms.gateway.errors import ApiError, forbidden, unauthorized
from pms.gateway.passwords import (
    LOGIN_CHARACTERS_MAX,
    hash_password,
    random_password,
    stored_forms,
    verify_password,
)
from pms.gateway.ports import Directory, Role, User, UserStatus
from pms.gateway.tokens import TokenIssuer
from pms.ledger.api import Actor
from pms.model.clock import Clock
from pms.model.ids import IdSource, UserId

STATUS_AGE_SECONDS_MAX = 5.0
ADMIN_NAME = "admin"
KEY_HEADER = "x-pms-key"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `via` is `jwt` or `key`; a key never carries the admin role (H-7)."""

    user: User
    via: str
    expires_at_s: int | None

    @property
    def user_id(self) -> UserId:
        return self.user.id

    @property
    def is_admin(self) -> bool:
        return self.via == "jwt" and self.user.role is Role.ADMIN

    @property
    def actor(self) -> Actor:
        return Actor(self.user.id, self.via)


class Authenticator:
    """Checks credentials. Event-loop thread only."""

    def __init__(self, directory: Directory, tokens: TokenIssuer, clock: Clock) -> None:
        self._directory = directory
        self._tokens = tokens
        self._clock = clock
        self._users: OrderedDict[str, tuple[float, User | None]] = OrderedDict()

    def invalidate(self, user_id: UserId) -> None:
        """Forget what is cached of a user and of all keys; the next request reads the row again."""
        for key in [
            key for key, (_, user) in self._users.items() if key == user_id or key.startswith("key ")
        ]:
            del self._users[key]

    async def authenticate(self, headers: Mapping[str, str], *, session_only: bool = False) -> Principal:
        """Return the caller: API key first, then session (spec 3.5). Raises ApiError 401 or 403."""
        key = headers.get(KEY_HEADER)
        if key is not None and not session_only:
            return await self._by_key(key)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized("Authentication is required.")
        return await self.session(token.strip())

    async def session(self, token: str) -> Principal:
        """Return the holder of a session token. Raises ApiError 401 (not valid) or 403 (pending)."""
        claims = self._tokens.verify(token)
        user = await self._cached(claims.user_id)
        if user is None or user.status is UserStatus.BANNED:
            raise unauthorized("The session has been revoked.", "TOKEN_REVOKED")
        if user.status is not UserStatus.APPROVED:
            raise ApiError(403, "PENDING", "The account waits for approval.", extra={"status": "PENDING"})
        return Principal(user, "jwt", claims.expires_at_s)

    async def still_valid(self, principal: Principal) -> bool:
        """Return whether a session may go on: not expired, and the user's row still approves (H-5)."""
        if principal.expires_at_s is not None and principal.expires_at_s * 1000 <= self._clock.now_ms():
            return False
        user = await self._cached(principal.user_id)
        return user is not None and user.status is UserStatus.APPROVED and user.role is principal.user.role

    async def login(self, username: str, password: str) -> tuple[str, User]:
        """Return a session token and its user. Raises ApiError 401 (wrong) or 403 (banned, pending)."""
        usable = len(password) <= LOGIN_CHARACTERS_MAX and "\0" not in password and username.isprintable()
        user = await self._directory.user_named(username) if usable else None
        fits = await verify_password(password if usable else "", user.password_hash if user else None)
        if user is None or not fits:
            raise unauthorized("The user name or the password is wrong.", "WRONG_CREDENTIALS")
        if user.status is UserStatus.BANNED:
            raise ApiError(403, "BANNED", "The account is banned.")
        if user.status is not UserStatus.APPROVED:
            raise ApiError(403, "PENDING", "The account waits for approval.", extra={"status": "PENDING"})
        return self._tokens.issue(user.id, user.username, user.role.value), user

    async def _by_key(self, key: str) -> Principal:
        forms = stored_forms(key)
        if not forms:
            raise unauthorized("The API key is invalid.", "INVALID_KEY")
        user = await self._remember("key " + forms[0], forms)
        if user is None:
            raise unauthorized("The API key is invalid.", "INVALID_KEY")
        if user.status is not UserStatus.APPROVED:
            raise forbidden("The owner of the API key is not approved.")
        return Principal(user, "key", None)

    async def _cached(self, user_id: UserId) -> User | None:
        return await self._remember(user_id, None)

    async def _remember(self, cache_key: str, forms: tuple[str, ...] | None) -> User | None:
        now = self._clock.monotonic()
        known = self._users.get(cache_key)
        if known is not None and now - known[0] < STATUS_AGE_SECONDS_MAX:
            return known[1]
        if forms is None:
            user = await self._directory.user(UserId(cache_key))
        else:
            user = await self._directory.user_with_key(forms)
        self._users.pop(cache_key, None)
        self._users[cache_key] = (now, user)
        while len(self._users) > PRINCIPALS_CACHED_MAX:
            self._users.popitem(last=False)
        return user


async def create_admin_if_none(directory: Directory, ids: IdSource, clock: Clock) -> tuple[str, str] | None:
    """Make the first administrator if there is none; return its name and password, told only here (H-34)."""
    users = await directory.users()
    if any(user.role is Role.ADMIN for user in users):
        return None
    taken = {user.username for user in users}
    name = ADMIN_NAME if ADMIN_NAME not in taken else f"{ADMIN_NAME}-{ids.token(3)}"
    password = random_password(ids)
    user = User(
        UserId(ids.uuid()),
        name,
        await hash_password(password),
        Role.ADMIN,
        UserStatus.APPROVED,
        None,
        clock.now_ms(),
    )
    await directory.add_user(user)
    return name, password
