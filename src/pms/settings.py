"""Every setting, typed, with its environment variable, default and meaning (shown in docs/settings.md)."""

import os
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pms.model.ids import IdSource
from pms.setting_values import ExchangeTrading as ExchangeTrading
from pms.setting_values import FlipMode as FlipMode
from pms.setting_values import ForeignClose as ForeignClose
from pms.setting_values import HousePolicy as HousePolicy
from pms.setting_values import LogLevel as LogLevel
from pms.setting_values import MaintenanceModel as MaintenanceModel
from pms.setting_values import PublishedPrice as PublishedPrice
from pms.setting_values import Registration as Registration
from pms.setting_values import RiskKernel as RiskKernel
from pms.setting_values import Role as Role
from pms.setting_values import SettingsError as SettingsError
from pms.setting_values import roles_for_phase as roles_for_phase

SESSION_SECRET_BYTES_MIN = 32
"""HS256 keys shorter than the hash invite guessing (gateway spec 11)."""

SIMULATOR = "simulator"


def _comma_list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
    return value


def _alone(data: dict[str, Any]) -> bool:
    # Beside the incumbent the incumbent's behaviour is the default, whatever the phase (decision 29).
    return data.get("phase") is None


class Settings(BaseSettings):
    """All settings of one process. Immutable; made by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", case_sensitive=True, env_ignore_empty=True, validate_by_name=True
    )

    # Where things are
    data_dir: Path = Field(
        Path("data"),
        validation_alias="PMS_DATA_DIR",
        description="Folder of the ledger, the simulator's file and the generated session secret.",
    )
    host: str = Field(
        "127.0.0.1",
        validation_alias="PMS_HOST",
        description="Address to listen on. Anything but loopback belongs behind a TLS proxy.",
    )
    port: int = Field(
        3900,
        validation_alias="PORT",
        ge=0,
        le=65535,
        description="HTTP and WebSocket port; 0 takes a free one.",
    )
    database_url: SecretStr | None = Field(
        None,
        validation_alias="DATABASE_URL",
        description="`sqlite:///file` or `postgresql://user:password@host/name`. "
        "Unset: `ledger.db` in the data folder.",
    )
    redis_url: SecretStr | None = Field(
        None,
        validation_alias="REDIS_URL",
        description="`redis://` or `rediss://` address. Unset, without `REDIS_HOST`: memory serves.",
    )
    redis_host: str | None = Field(
        None,
        validation_alias="REDIS_HOST",
        description="The incumbent's way to name Redis; used when `REDIS_URL` is unset.",
    )
    redis_port: int = Field(
        6379, validation_alias="REDIS_PORT", ge=1, le=65535, description="Port that goes with `REDIS_HOST`."
    )
    redis_required: bool = Field(
        False,
        validation_alias="PMS_REDIS_REQUIRED",
        description="Refuse to start while Redis does not answer, instead of starting without it.",
    )

    # What this process does
    phase: int | None = Field(
        None,
        validation_alias="PMS_PHASE",
        ge=1,
        le=5,
        description="Migration phase beside the incumbent, 1 to 5. Unset: everything, standing alone.",
    )
    roles: Annotated[frozenset[Role], NoDecode] = Field(
        default_factory=lambda data: roles_for_phase(data.get("phase")),
        validation_alias="PMS_ROLES",
        description="Comma list of roles, in place of those of the phase.",
    )
    log_level: LogLevel = Field(
        LogLevel.INFO, validation_alias="PMS_LOG_LEVEL", description="Lowest level that is logged."
    )

    # The exchange
    exchange: str = Field(
        SIMULATOR,
        validation_alias="PMS_EXCHANGE",
        description="`simulator` (embedded), `testnet`, `binance`, or the address of a running simulator.",
    )
    exchange_account: str = Field(
        "main",
        validation_alias="PMS_EXCHANGE_ACCOUNT",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="Our name of the one real account; tables, leases and locks carry it (decision 30).",
    )
    binance_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("BINANCE_API_KEY", "api_key"),
        description="API key of the real account. The incumbent's name is accepted too.",
    )
    binance_api_secret: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("BINANCE_API_SECRET", "secret"),
        description="API secret of the real account. The incumbent's name is accepted too. The kind of key "
        "is told by the text: the PEM of an RSA or Ed25519 private key (PKCS#8, unencrypted; `\\n` means "
        "a line break), else HMAC.",
    )
    binance_rest_url: str | None = Field(
        None, validation_alias="BINANCE_REST_URL", description="REST address, when it is not the usual one."
    )
    binance_ws_public_url: str | None = Field(
        None, validation_alias="BINANCE_WS_PUBLIC_URL", description="Address of the public streams (book)."
    )
    binance_ws_market_url: str | None = Field(
        None,
        validation_alias="BINANCE_WS_MARKET_URL",
        description="Address of the market streams (mark price).",
    )
    binance_ws_private_url: str | None = Field(
        None,
        validation_alias="BINANCE_WS_PRIVATE_URL",
        description="Address of the private stream (own orders).",
    )
    binance_ws_api_url: str | None = Field(
        None,
        validation_alias="BINANCE_WS_API_URL",
        description="Address of the WebSocket API, for `PMS_EXCHANGE_TRADING=websocket`.",
    )
    exchange_trading: ExchangeTrading = Field(
        ExchangeTrading.REST,
        validation_alias="PMS_EXCHANGE_TRADING",
        description="`rest`, or `websocket`: single orders go over the exchange's WebSocket API, batches and "
        "whatever finds no ready socket by REST.",
    )
    symbols_refresh_seconds: int = Field(
        3600,
        validation_alias="PMS_SYMBOLS_REFRESH_SECONDS",
        ge=60,
        le=86_400,
        description="How often contracts and their filters are read again, s; a refusal for precision, tick "
        "or notional reads them sooner.",
    )
    recv_window_ms: int = Field(
        2000,
        validation_alias="PMS_RECV_WINDOW_MS",
        ge=200,
        le=2000,
        description="Longest validity of a signed order, ms; a successor waits as long before it "
        "acts (decision 28).",
    )

    # Money and risk
    flip_mode: FlipMode = Field(
        default_factory=lambda data: FlipMode.NET if _alone(data) else FlipMode.INCUMBENT,
        validation_alias="PMS_FLIP_MODE",
        description="`net`: an order against a position closes it and opens the rest. `incumbent`: its "
        "quantity is the new position (market entries only).",
    )
    charge_open_fees: bool = Field(
        default_factory=_alone,
        validation_alias="PMS_CHARGE_OPEN_FEES",
        description="Charge the fee of opening fills to the account, as a balance row `OPEN_FEE`.",
    )
    funding: bool = Field(
        default_factory=_alone,
        validation_alias="PMS_FUNDING",
        description="Book funding payments to the accounts that hold the position. Without it the house "
        "bears the exchange's; switched on later, it begins then.",
    )
    maintenance: MaintenanceModel = Field(
        MaintenanceModel.INCUMBENT,
        validation_alias="PMS_MAINTENANCE",
        description="`incumbent`: account rate × entry notional. `brackets`: what the exchange's brackets "
        "need on mark notional, at least account rate × mark notional.",
    )
    open_orders_quota: int = Field(
        60,
        validation_alias="PMS_OPEN_ORDERS_QUOTA",
        ge=1,
        le=200,
        description="Resting entries that one sub-account may have on one symbol. All accounts share the "
        "exchange's bound for the symbol, less a reserve for closing.",
    )
    house_policy: HousePolicy = Field(
        HousePolicy.HOLD,
        validation_alias="PMS_HOUSE_POLICY",
        description="What the house does with positions it took over: `hold` keeps them until an operator "
        "closes or assigns them, `unwind` trades them away.",
    )
    liquidation_fee_rate: Decimal = Field(
        Decimal(0),
        validation_alias="PMS_LIQUIDATION_FEE_RATE",
        ge=0,
        le=Decimal("0.05"),
        allow_inf_nan=False,
        description="Share of a liquidated notional that the account pays into the house's insurance.",
    )
    foreign_close: ForeignClose = Field(
        ForeignClose.ALLOCATE,
        validation_alias="PMS_FOREIGN_CLOSE",
        description="Who bears trades by hand and of other bots on the real account: the holders of the "
        "reduced side (`allocate`), or the `house`.",
    )
    exchange_close: ForeignClose = Field(
        ForeignClose.ALLOCATE,
        validation_alias="PMS_EXCHANGE_CLOSE",
        description="Who bears liquidation, deleveraging and settlement of the real account: `allocate`, "
        "or `house`.",
    )
    risk_kernel: RiskKernel = Field(
        RiskKernel.AUTO,
        validation_alias="PMS_RISK_KERNEL",
        description="What evaluates ticks: the compiled kernel (`native`), `numpy`, or `auto`. Both give the "
        "same figures.",
    )
    published_price: PublishedPrice = Field(
        default_factory=lambda data: (
            PublishedPrice.INCUMBENT if data.get("phase") in (1, 2) else PublishedPrice.MARK
        ),
        validation_alias="PMS_RISK_PRICE",
        description="What `mark` is in `pms:price:*`: mark price, mid, or the last of both (`incumbent`).",
    )
    risk_snapshot_ttl_seconds: int = Field(
        120,
        validation_alias="RISK_SNAPSHOT_TTL_SEC",
        ge=5,
        le=86_400,
        description="Life of `pms:risk:*` in Redis, s.",
    )

    # Users
    jwt_secret: SecretStr | None = Field(
        None,
        validation_alias="JWT_SECRET",
        description="Signs session tokens; at least 32 bytes. Unset: a generated one in the data folder.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="CORS_ORIGIN",
        description="Comma list of origins whose pages may call the API. The built-in page needs none.",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="TRUSTED_PROXIES",
        description="Comma list of networks whose `X-Forwarded-For` is believed.",
    )
    registration: Registration = Field(
        Registration.OFF,
        validation_alias="PMS_REGISTRATION",
        description="`off`: an administrator makes users. `pending`: anyone may ask, an admin approves.",
    )
    default_account_grant: Decimal = Field(
        Decimal(0),
        validation_alias="DEFAULT_ACCOUNT_GRANT",
        ge=0,
        le=Decimal("1e9"),
        allow_inf_nan=False,
        description="USDT that the house gives to each account a user makes for himself.",
    )
    reads_per_minute: int = Field(
        600,
        validation_alias="PMS_READS_PER_MINUTE",
        ge=10,
        description="Reads that one user may send in a minute.",
    )
    writes_per_minute: int = Field(
        120,
        validation_alias="PMS_WRITES_PER_MINUTE",
        ge=10,
        description="Orders and other changes that one user may send in a minute.",
    )
    worker_secret: SecretStr | None = Field(
        None,
        validation_alias="PMS_WORKER_SECRET",
        description="Secret of the loopback callback of external workers, at least 32 bytes. "
        "Unset: the callback is off. Not in this version, which refuses a set one.",
    )

    @field_validator("roles", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _comma_list(value)

    @field_validator("roles")
    @classmethod
    def _some_role(cls, value: frozenset[Role]) -> frozenset[Role]:
        if not value:
            raise ValueError("must name at least one role of " + ", ".join(Role))
        return value

    @field_validator("jwt_secret", "worker_secret")
    @classmethod
    def _long_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < SESSION_SECRET_BYTES_MIN:
            raise ValueError(f"must have at least {SESSION_SECRET_BYTES_MIN} bytes")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _require_scheme(value.get_secret_value(), ("redis", "rediss", "unix"))
        return value

    @field_validator("database_url")
    @classmethod
    def _database_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            address = value.get_secret_value()
            # The incumbent's ORM writes `file:name` for SQLite.
            if not address.startswith(("sqlite:", "sqlite+aiosqlite:", "file:")):
                _require_scheme(address, ("postgresql", "postgres", "postgresql+asyncpg", "sqlite", "file"))
        return value

    @field_validator("exchange")
    @classmethod
    def _known_exchange(cls, value: str) -> str:
        if value not in (SIMULATOR, "binance", "testnet"):
            try:
                _require_scheme(value, ("http", "https"))
            except ValueError:
                raise ValueError("must be simulator, binance, testnet or an http(s) address") from None
        return value.rstrip("/")

    @field_validator("binance_rest_url")
    @classmethod
    def _rest_scheme(cls, value: str | None) -> str | None:
        return value if value is None else _require_scheme(value, ("http", "https"))

    @field_validator(
        "binance_ws_public_url", "binance_ws_market_url", "binance_ws_private_url", "binance_ws_api_url"
    )
    @classmethod
    def _stream_scheme(cls, value: str | None) -> str | None:
        return value if value is None else _require_scheme(value, ("ws", "wss"))

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network, strict=False)
        return value

    def redis_address(self) -> str | None:
        """Return the address of Redis, or None when the in-memory twin serves."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        return None if self.redis_host is None else f"redis://{self.redis_host}:{self.redis_port}/0"


def _require_scheme(address: str, schemes: tuple[str, ...]) -> str:
    parts = urlsplit(address)
    if parts.scheme not in schemes or not (parts.netloc or parts.path):
        raise ValueError(
            "must be an address of the form " + " or ".join(f"{scheme}://…" for scheme in schemes)
        )
    return address.rstrip("/")


def variable_names(field_name: str) -> tuple[str, ...]:
    """Return the environment variables of a field, the preferred one first."""
    alias = Settings.model_fields[field_name].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (str(alias),)


def load_settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the environment; `overrides` (by field name, from the command line) win.

    Raises SettingsError with one line that names every unusable variable and its rule. Reads no file.
    """
    given: dict[str, Any] = {key: value for key, value in (overrides or {}).items() if value is not None}
    # An override must beat its variable: by name and by alias at once, pydantic would prefer the alias.
    named = {variable_names(key)[0] if key in Settings.model_fields else key: given[key] for key in given}
    try:
        return Settings(**named)
    except ValidationError as error:
        raise SettingsError("; ".join(_explained(error))) from None


def _explained(error: ValidationError) -> list[str]:
    names = {alias: name for name in Settings.model_fields for alias in variable_names(name)}
    lines = []
    for detail in error.errors(include_url=False, include_context=False):
        if detail["type"] == "default_factory_not_called":
            continue  # follows from another error
        place = str(detail["loc"][0]) if detail["loc"] else "settings"
        rule = detail["msg"].removeprefix("Value error, ")
        field = names.get(place, place)
        shown = detail.get("input")
        secret = field in Settings.model_fields and "Secret" in str(Settings.model_fields[field].annotation)
        value = "" if secret or not isinstance(shown, str | int | float) else f", was {str(shown)[:60]!r}"
        variable = variable_names(field)[0] if field in Settings.model_fields else place
        lines.append(f"{variable}: {rule}{value}")
    return lines


def unknown_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return variables that start with PMS_ and mean nothing here: most likely misspelt."""
    known = {alias for name in Settings.model_fields for alias in variable_names(name)}
    return tuple(sorted(name for name in environment if name.startswith("PMS_") and name not in known))


def session_secret(data_dir: Path, ids: IdSource) -> str:
    """Return the generated session secret of a data folder, making it on first use (file mode 0600).

    Two processes that start at once agree: the file appears complete or not at all. Blocks on the disk.
    Raises SettingsError when the folder is not writable or the file is damaged.
    """
    path = data_dir / "session-secret"
    try:
        if not path.exists():
            _write_secret(path, ids.token(SESSION_SECRET_BYTES_MIN))
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"JWT_SECRET: unset, and {path} cannot be used ({error}); set it, or make the folder writable"
        ) from error
    if len(secret) < SESSION_SECRET_BYTES_MIN:
        raise SettingsError(f"JWT_SECRET: {path} is damaged; delete it (everybody must log in again)")
    return secret


def _write_secret(path: Path, secret: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename, a link never replaces a secret that another process made meanwhile.
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)
