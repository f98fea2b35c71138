"""Credentials: tokens, passwords, keys, and the age of what is believed about a user."""

import time

import bcrypt
import jwt
import pytest

from pms.gateway.auth import Authenticator, create_admin_if_none
from pms.gateway.errors import ApiError, SettingsError
from pms.gateway.passwords import (
    check_new_password,
    hash_password,
    random_password,
    stored_forms,
    stored_key,
    verify_password,
)
from pms.gateway.ports import Role, UserStatus
from pms.gateway.settings import GatewaySettings
from pms.gateway.tokens import LIFETIME_SECONDS, TokenIssuer
from pms.runtime import SystemIds
from tests.unit.gateway.fake_clock import ShiftedClock
from tests.unit.gateway.fakes import PASSWORD, SECRET, FakeDirectory


class Desk:
    def __init__(self) -> None:
        self.clock = ShiftedClock()
        self.directory = FakeDirectory()
        self.tokens = TokenIssuer(SECRET, self.clock, SystemIds())
        self.authenticator = Authenticator(self.directory, self.tokens, self.clock)
        self.user = self.directory.add("alice")

    def bearer(self) -> dict[str, str]:
        token = self.tokens.issue(self.user.id, self.user.username, self.user.role.value)
        return {"authorization": f"Bearer {token}"}


async def refusal(desk: Desk, headers: dict[str, str], *, session_only: bool = False) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        await desk.authenticator.authenticate(headers, session_only=session_only)
    return caught.value.status, caught.value.code


def test_a_token_has_the_incumbents_claims() -> None:
    desk = Desk()
    claims = jwt.decode(desk.bearer()["authorization"][7:], SECRET, algorithms=["HS256"])
    assert claims["id"] == desk.user.id
    assert claims["username"] == "alice"
    assert claims["role"] == "USER"
    assert claims["exp"] - claims["iat"] == LIFETIME_SECONDS == 7 * 86_400


async def test_a_token_of_the_incumbent_is_accepted() -> None:
    desk = Desk()
    now = int(time.time())
    claims = {"id": desk.user.id, "username": "alice", "role": "ADMIN", "iat": now, "exp": now + 100}
    principal = await desk.authenticator.session(jwt.encode(claims, SECRET, algorithm="HS256"))
    assert principal.user_id == desk.user.id
    assert not principal.is_admin, "the role is the row's, never the token's"


@pytest.mark.parametrize(
    ("claims", "secret", "algorithm"),
    [
        ({"id": "user-alice", "iat": 1, "exp": 1}, SECRET, "HS256"),
        ({"id": "user-alice", "iat": 1}, SECRET, "HS256"),
        ({"iat": 1, "exp": 2**40}, SECRET, "HS256"),
        ({"id": 5, "iat": 1, "exp": 2**40}, SECRET, "HS256"),
        ({"id": "user-alice", "iat": 1, "exp": 2**40}, "x" * 32, "HS256"),
        ({"id": "user-alice", "iat": 1, "exp": 2**40}, SECRET + SECRET, "HS512"),
        ({"id": "user-alice", "iat": 1, "exp": 2**40}, "", "none"),
        ({"id": "user-nobody", "iat": 1, "exp": 2**40}, SECRET, "HS256"),
    ],
)
async def test_other_tokens_are_refused(claims: dict[str, object], secret: str, algorithm: str) -> None:
    token = jwt.encode(claims, secret, algorithm=algorithm)
    assert (await refusal(Desk(), {"authorization": f"Bearer {token}"}))[0] == 401


@pytest.mark.parametrize("user_id", ["\ud800", "a\0b", "", "x" * 65, "' OR 1=1 --"])
async def test_an_id_that_no_row_has_never_reaches_a_database(user_id: str) -> None:
    token = jwt.encode({"id": user_id, "iat": 1, "exp": 2**40}, SECRET, algorithm="HS256")
    assert await refusal(Desk(), {"authorization": f"Bearer {token}"}) == (401, "INVALID_TOKEN")


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic abc", "Bearer " + "x" * 10_000, "Bearer a.b.c"]
)
async def test_garbage_is_refused(value: str) -> None:
    assert (await refusal(Desk(), {"authorization": value}))[0] == 401


async def test_a_token_expires() -> None:
    desk = Desk()
    headers = desk.bearer()
    desk.clock.shift_ms = LIFETIME_SECONDS * 1000 + 1
    assert await refusal(desk, headers) == (401, "TOKEN_EXPIRED")


async def test_a_ban_is_noticed_within_five_seconds_and_at_once_when_told() -> None:
    desk = Desk()
    headers = desk.bearer()
    await desk.authenticator.authenticate(headers)
    await desk.directory.set_user_status(desk.user.id, UserStatus.BANNED)
    await desk.authenticator.authenticate(headers)  # still cached
    desk.clock.shift_ms = 5_000
    assert await refusal(desk, headers) == (401, "TOKEN_REVOKED")

    await desk.directory.set_user_status(desk.user.id, UserStatus.PENDING)
    desk.authenticator.invalidate(desk.user.id)
    assert await refusal(desk, headers) == (403, "PENDING")


async def test_an_api_key_never_carries_the_admin_role_and_is_found_hashed_or_legacy() -> None:
    desk = Desk()
    boss = desk.directory.add("boss", Role.ADMIN)
    key = "pms_" + "0f" * 24
    for stored in (stored_key(key), key):
        await desk.directory.set_api_key(boss.id, stored)
        desk.authenticator.invalidate(boss.id)
        principal = await desk.authenticator.authenticate({"x-pms-key": key})
        assert principal.user_id == boss.id
        assert not principal.is_admin
    await desk.directory.set_user_status(boss.id, UserStatus.BANNED)
    desk.authenticator.invalidate(boss.id)
    assert (await refusal(desk, {"x-pms-key": key}))[0] == 403


async def test_the_stored_form_of_a_key_is_no_credential() -> None:
    desk = Desk()
    stored = stored_key("pms_" + "0f" * 24)
    await desk.directory.set_api_key(desk.user.id, stored)
    assert stored_forms(stored) == ()
    assert (await refusal(desk, {"x-pms-key": stored}))[0] == 401
    assert (await refusal(desk, {"x-pms-key": "wrong"} | desk.bearer()))[0] == 401, "a wrong key fails all"
    await desk.authenticator.authenticate({"x-pms-key": "wrong"} | desk.bearer(), session_only=True)


async def test_passwords_verify_as_the_incumbents_do() -> None:
    hashed = await hash_password("abcdefg1")
    assert hashed.startswith("$2b$10$")
    assert len(hashed) == 60
    assert await verify_password("abcdefg1", hashed)
    assert not await verify_password("abcdefg2", hashed)
    assert not await verify_password("abcdefg1", "not a hash")
    long = bcrypt.hashpw(b"a" * 72, bcrypt.gensalt(4)).decode()
    assert await verify_password("a" * 100, long), "the incumbent ignores what follows byte 72"


async def test_an_unknown_user_costs_what_a_wrong_password_costs() -> None:
    hashed = await hash_password("abcdefg1")

    async def cost(known: str | None) -> float:
        started = time.perf_counter()
        assert not await verify_password("wrong", known)
        return time.perf_counter() - started

    known = min([await cost(hashed) for _ in range(3)])
    unknown = min([await cost(None) for _ in range(3)])
    assert 0.3 < unknown / known < 3


@pytest.mark.parametrize("password", ["short1", "onlyletters", "12345678", "ä" * 40 + "a1", "with\0nul1a"])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(ApiError):
        check_new_password(password)


async def test_the_first_admin_is_made_once() -> None:
    desk = Desk()
    made = await create_admin_if_none(desk.directory, SystemIds(), desk.clock)
    assert made is not None
    name, password = made
    token, user = await desk.authenticator.login(name, password)
    assert user.role is Role.ADMIN
    assert (await desk.authenticator.session(token)).is_admin
    assert await create_admin_if_none(desk.directory, SystemIds(), desk.clock) is None


async def test_login_tells_pending_and_banned_only_to_who_knows_the_password() -> None:
    desk = Desk()
    for status in (UserStatus.PENDING, UserStatus.BANNED):
        await desk.directory.set_user_status(desk.user.id, status)
        with pytest.raises(ApiError) as wrong:
            await desk.authenticator.login("alice", "wrong-password-1")
        assert wrong.value.status == 401
        with pytest.raises(ApiError) as right:
            await desk.authenticator.login("alice", PASSWORD)
        assert right.value.status == 403
        assert right.value.extra.get("status") == ("PENDING" if status is UserStatus.PENDING else None)


def test_a_short_secret_and_a_bad_network_are_refused() -> None:
    with pytest.raises(SettingsError, match="at least 32"):
        GatewaySettings("short")
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES"):
        GatewaySettings(SECRET, trusted_proxies=("10.0.0.0/99",))


def test_hosts_on_loopback_are_its_own_names_and_the_listed_pages() -> None:
    settings = GatewaySettings(SECRET, allowed_origins=("https://desk.example:8443",))
    assert settings.host_names == {"localhost", "127.0.0.1", "[::1]", "desk.example"}
    assert GatewaySettings(SECRET, host="0.0.0.0").host_names is None
    assert GatewaySettings(SECRET, allowed_hosts=("PMS.example",)).host_names == {"pms.example"}


def test_only_trusted_networks_are_proxies() -> None:
    settings = GatewaySettings(SECRET, trusted_proxies=("10.0.0.0/8", "::1"))
    assert [settings.peer_is_proxy(one) for one in ("10.1.2.3", "::1", "11.0.0.1", "unknown")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_random_password_is_always_acceptable() -> None:
    for _ in range(50):
        check_new_password(random_password(SystemIds()))
