"""Users and risk-rule rows: small writes beside the money path; they need no lease."""

from collections.abc import Sequence

from pms.ledger.errors import DuplicateKeyError
from pms.ledger.reader import Reader
from pms.ledger.records import Role, RulesRow, User, UserStatus
from pms.ledger.rendering import DatabaseValue, Kind, Row, encode
from pms.ledger.store import Statement, Store
from pms.model.account import RiskRules
from pms.model.clock import Clock
from pms.model.ids import SubAccountId, UserId


class Directory:
    """Users by id, name and key. Usernames are case-sensitive and unique (gateway spec 3.1)."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def user(self, user_id: UserId) -> User | None:
        return await self._one("id = ?", user_id)

    async def user_named(self, username: str) -> User | None:
        return await self._one("username = ?", username)

    async def user_with_key(self, stored: Sequence[str]) -> User | None:
        """Return the user whose `api_key` column equals one of the given texts."""
        if not stored:
            return None
        return await self._one(f"api_key IN ({', '.join('?' * len(stored))})", *stored)

    async def users(self) -> Sequence[User]:
        """Return all users, newest first."""
        rows = await self._store.fetch("SELECT * FROM users ORDER BY created_at DESC, id DESC")
        return [_user(row) for row in rows]

    async def has_any_user(self) -> bool:
        return bool(await self._store.fetch("SELECT 1 AS found FROM users LIMIT 1"))

    async def add_user(self, user: User) -> bool:
        """Insert a user; False when the name (or key) is taken and nothing changed."""
        created = self._time(user.created_at_ms)
        sql = (
            "INSERT INTO users (id, username, password_hash, role, status, api_key, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        values = (
            user.id,
            user.username,
            user.password_hash,
            user.role.value,
            user.status.value,
            user.api_key,
            created,
            created,
        )
        try:
            await self._store.write([(sql, values)])
        except DuplicateKeyError:
            return False
        return True

    async def set_user_status(self, user_id: UserId, status: UserStatus) -> User | None:
        return await self._set(user_id, "status", status.value)

    async def set_password_hash(self, user_id: UserId, password_hash: str) -> User | None:
        return await self._set(user_id, "password_hash", password_hash)

    async def set_api_key(self, user_id: UserId, stored: str | None) -> User | None:
        """Store a key's hash, or None to revoke; the text is what the gateway compares with."""
        return await self._set(user_id, "api_key", stored)

    async def rules_rows(self) -> Sequence[RulesRow]:
        """Return the `risk_rules` rows, the global one first."""
        rows = await self._store.fetch("SELECT * FROM risk_rules ORDER BY is_global DESC, id")
        return [_rules(row) for row in rows]

    async def _one(self, where: str, *values: str) -> User | None:
        sql = f"SELECT * FROM users WHERE {where}"  # noqa: S608 -- constants
        rows = await self._store.fetch(sql, *values)
        return _user(rows[0]) if rows else None

    async def _set(self, user_id: UserId, column: str, value: str | None) -> User | None:
        sql = f"UPDATE users SET {column} = ?, updated_at = ?"  # noqa: S608 -- constants
        sql += " WHERE id = ? RETURNING *"
        statement: Statement = (sql, (value, self._time(self._clock.now_ms()), user_id))
        rows = (await self._store.write([statement]))[0]
        return _user(rows[0]) if rows else None

    def _time(self, moment_ms: int) -> DatabaseValue:
        return encode(Kind.TIME, moment_ms, sqlite=self._store.dialect == "sqlite")


def _user(row: Row) -> User:
    reader = Reader("users", row)
    return User(
        id=UserId(reader.text("id")),
        username=reader.text("username"),
        password_hash=reader.text("password_hash"),
        role=Role(reader.text("role")),
        status=UserStatus(reader.text("status")),
        api_key=reader.text_or_none("api_key"),
        created_at_ms=reader.number("created_at"),
    )


def _rules(row: Row) -> RulesRow:
    reader = Reader("risk_rules", row)
    owner = reader.text_or_none("sub_account_id")
    rules = RiskRules(
        reader.exact("max_leverage"),
        reader.exact("max_notional_per_trade"),
        reader.exact("max_total_exposure"),
        reader.exact("liquidation_threshold"),
    )
    return RulesRow(reader.text("id"), None if owner is None else SubAccountId(owner), rules)
