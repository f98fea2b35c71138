"""Settings: defaults, variables, what wins, phases, one clear line on error, and no secret in any text."""

import itertools
import stat
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from pms.runtime import SystemIds
from pms.settings import (
    FlipMode,
    PublishedPrice,
    Role,
    Settings,
    SettingsError,
    load_settings,
    roles_for_phase,
    session_secret,
    unknown_variables,
    variable_names,
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        for variable in variable_names(name):
            monkeypatch.delenv(variable, raising=False)


def test_alone_everything_runs_with_our_rules() -> None:
    settings = load_settings()
    assert (settings.port, settings.host, settings.exchange) == (3900, "127.0.0.1", "simulator")
    assert settings.roles == frozenset(Role)
    assert (settings.flip_mode, settings.charge_open_fees, settings.funding) == (FlipMode.NET, True, True)
    assert settings.published_price is PublishedPrice.MARK
    assert settings.redis_address() is None
    assert settings.default_account_grant == 0


def test_beside_the_incumbent_its_rules_are_the_default_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMS_PHASE", "3")
    settings = load_settings()
    assert (settings.flip_mode, settings.charge_open_fees, settings.funding) == (
        FlipMode.INCUMBENT,
        False,
        False,
    )
    assert Role.ALGOS not in settings.roles
    monkeypatch.setenv("PMS_FLIP_MODE", "net")
    monkeypatch.setenv("PMS_CHARGE_OPEN_FEES", "true")
    settings = load_settings()
    assert (settings.flip_mode, settings.charge_open_fees) == (FlipMode.NET, True)


def test_a_phase_from_the_command_line_decides_the_defaults_too() -> None:
    settings = load_settings({"phase": 1, "port": None})
    assert settings.roles == {Role.MARKET_DATA}
    assert settings.published_price is PublishedPrice.INCUMBENT
    assert settings.port == 3900


def test_each_phase_adds_to_the_one_before() -> None:
    roles = [roles_for_phase(phase) for phase in range(1, 6)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(roles))
    assert roles[2] == {Role.MARKET_DATA, Role.USER_STREAM, Role.ENGINE, Role.BABYSITTER_ACTIONS}
    assert roles[4] == roles_for_phase(None) == frozenset(Role)
    with pytest.raises(SettingsError, match="PMS_PHASE: must be 1 to 5, was 6"):
        roles_for_phase(6)


def test_the_command_line_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1000")
    monkeypatch.setenv("PMS_EXCHANGE", "binance")
    settings = load_settings({"port": 2000})
    assert (settings.port, settings.exchange) == (2000, "binance")


def test_lists_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGIN", " http://a , http://b,")
    monkeypatch.setenv("PMS_ROLES", "gateway,engine")
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8,127.0.0.1")
    settings = load_settings()
    assert settings.cors_origins == ("http://a", "http://b")
    assert settings.roles == {Role.GATEWAY, Role.ENGINE}
    assert settings.trusted_proxies == ("10.0.0.0/8", "127.0.0.1")


def test_the_incumbents_names_of_keys_and_redis_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("api_key", "old-key")
    monkeypatch.setenv("secret", "old-secret")
    monkeypatch.setenv("REDIS_HOST", "redis.lan")
    settings = load_settings()
    assert settings.binance_api_key == SecretStr("old-key")
    assert settings.binance_api_secret == SecretStr("old-secret")
    assert settings.redis_address() == "redis://redis.lan:6379/0"
    monkeypatch.setenv("BINANCE_API_KEY", "new-key")
    monkeypatch.setenv("REDIS_URL", "rediss://u:p@redis.lan:6380/2")
    settings = load_settings()
    assert settings.binance_api_key == SecretStr("new-key")
    assert settings.redis_address() == "rediss://u:p@redis.lan:6380/2"


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMS_PHASE", "")
    monkeypatch.setenv("JWT_SECRET", "")
    assert load_settings().phase is None
    assert load_settings().jwt_secret is None


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("PORT", "seventy", "PORT: .*integer.*was 'seventy'"),
        ("PORT", "70000", "PORT: .*65535"),
        ("PMS_PHASE", "6", "PMS_PHASE: .*5.*was '6'"),
        ("PMS_ROLES", "cook", "PMS_ROLES: .*market-data.*was 'cook'"),
        ("PMS_ROLES", ",", "PMS_ROLES: must name at least one role"),
        ("PMS_FLIP_MODE", "flop", "PMS_FLIP_MODE: .*net.*incumbent"),
        ("PMS_EXCHANGE", "nasdaq", "PMS_EXCHANGE: must be simulator, binance, testnet"),
        ("PMS_EXCHANGE_ACCOUNT", "a b", "PMS_EXCHANGE_ACCOUNT"),
        ("PMS_RECV_WINDOW_MS", "5000", "PMS_RECV_WINDOW_MS: .*2000"),
        ("DEFAULT_ACCOUNT_GRANT", "NaN", "DEFAULT_ACCOUNT_GRANT: .*finite"),
        ("DEFAULT_ACCOUNT_GRANT", "-1", "DEFAULT_ACCOUNT_GRANT: .*0"),
        ("TRUSTED_PROXIES", "10.0.0.0/99", "TRUSTED_PROXIES: .*network"),
        ("BINANCE_WS_MARKET_URL", "https://x", "BINANCE_WS_MARKET_URL: must be an address of the form ws://"),
        ("BINANCE_REST_URL", "wss://x", "BINANCE_REST_URL: must be an address of the form http://"),
    ],
)
def test_an_unusable_value_gives_one_line_with_variable_and_rule(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, rule: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=rule) as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    assert ";" not in str(caught.value), "one mistake, one rule"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("JWT_SECRET", "hunter2"),
        ("PMS_WORKER_SECRET", "hunter2"),
        ("DATABASE_URL", "mysql://root:hunter2@db/pms"),
        ("REDIS_URL", "http://:hunter2@redis"),
    ],
)
def test_an_error_never_shows_a_secret(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=f"{variable}: must") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_every_mistake_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("PMS_EXCHANGE", "y")
    with pytest.raises(SettingsError, match=r"PORT: .*; PMS_EXCHANGE: "):
        load_settings()
    with pytest.raises(SettingsError, match="porrt"):
        load_settings({"porrt": 1})


def test_secrets_are_hidden_and_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "k" * 32)
    monkeypatch.setenv("DATABASE_URL", "postgresql://pms:hunter2@db/pms")
    settings = load_settings()
    assert "hunter2" not in repr(settings)
    assert "k" * 32 not in repr(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


@pytest.mark.parametrize("address", ["sqlite:///x.db", "file:./dev.db", "postgresql://h/n", "postgres://h/n"])
def test_database_addresses_of_both_worlds(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("DATABASE_URL", address)
    settings = load_settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == address


def test_a_misspelt_variable_is_found() -> None:
    environment = {"PMS_FUNDIG": "1", "PMS_FUNDING": "1", "PATH": "x"}
    assert unknown_variables(environment) == ("PMS_FUNDIG",)


def test_a_decimal_grant_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAULT_ACCOUNT_GRANT", "1000.1")
    assert load_settings().default_account_grant == Decimal("1000.1")


def test_a_session_secret_is_made_once_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    secret = session_secret(folder, SystemIds())
    assert len(secret.encode()) >= 32
    assert session_secret(folder, SystemIds()) == secret
    assert stat.S_IMODE((folder / "session-secret").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["session-secret"]


def test_a_damaged_or_impossible_session_secret_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "session-secret").write_text("short")
    with pytest.raises(SettingsError, match="damaged; delete it"):
        session_secret(tmp_path, SystemIds())
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SettingsError, match=r"JWT_SECRET: unset, and .* cannot be used"):
        session_secret(blocked, SystemIds())
