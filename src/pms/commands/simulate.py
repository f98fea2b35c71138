"""`pms simulate`: only the exchange simulator."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pms.commands import inputs
from pms.settings import SettingsError
from pms.simulator.config import Fees, Limits, SimulatorConfig
from pms.simulator.errors import SimulatorError
from pms.simulator.keys import is_public_key
from pms.simulator.latency import LatencyConfig
from pms.simulator.recordings_index import files_of
from pms.simulator.relay import RelayConfig
from pms.simulator.rules import number
from pms.simulator.run import main_async
from pms.simulator.scenario import Scenario, load
from pms.simulator.synthetic import SyntheticConfig, parse_schedule

SPEED_MIN, SPEED_MAX = Decimal("0.01"), Decimal(1000)
UNLIMITED = Limits(
    request_weight_1m=10**9,
    funding_5m=10**9,
    statistics_5m=10**9,
    orders_10s=10**9,
    orders_1m=10**9,
    socket_messages_1s=10**6,
)


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """The command's options as they were typed; `recording` is a built-in name or a file."""

    host: str
    port: int
    stream_routing: str
    tls_cert: Path | None
    tls_key: Path | None
    admin_token: str
    data_path: Path | None
    api_key: str
    api_secret: str
    wallet: str
    account: Sequence[str] | None
    key: Sequence[str] | None
    recording: str
    symbols: str
    synthetic: str
    relay: str
    speed: str
    queue_model: str
    latency: str
    leverage: int
    maker_fee: str
    taker_fee: str
    limits: str
    old_order_fields: bool
    no_funding: bool
    faults: str
    seed: int | None


async def simulate(options: SimulateOptions, say: Callable[[str], None]) -> int:
    """Serve until a signal. Raises SettingsError and SimulatorError."""
    config = config_of(options)
    for key, _, wallet in config.accounts:
        say(f"API key    {key} ({wallet:f} USDT)")
    await main_async(config, say)
    return 0


def config_of(options: SimulateOptions) -> SimulatorConfig:
    """Return the simulator's configuration. Raises SettingsError and SimulatorError with one line."""
    symbols = tuple(symbol.strip() for symbol in options.symbols.split(",") if symbol.strip())
    if options.synthetic and options.relay:
        raise SettingsError("--synthetic: not together with --relay")
    return SimulatorConfig(
        host=options.host,
        port=options.port,
        stream_routing=_one_of("--stream-routing", options.stream_routing, ("routed", "legacy")),
        tls=_tls(options),
        admin_token=options.admin_token,
        data_path=options.data_path,
        accounts=_accounts(options),
        further_keys=tuple(_further_key(text) for text in options.key or ()),
        recordings=() if symbols or options.synthetic else files_of(options.recording),
        symbols=symbols,
        synthetic=_synthetic(options, symbols),
        relay=_relay(options, symbols),
        queue_model=_one_of("--queue-model", options.queue_model, ("power", "risk_averse")),
        latency=_latency(options),
        speed=_speed(options.speed),
        default_leverage=options.leverage,
        fees=Fees(_fee("--maker-fee", options.maker_fee), _fee("--taker-fee", options.taker_fee)),
        limits=UNLIMITED if _one_of("--limits", options.limits, ("venue", "none")) == "none" else Limits(),
        order_fields_before_2026_06=options.old_order_fields,
        funding=not options.no_funding,
        scenario=_scenario(options),
    )


def _tls(options: SimulateOptions) -> tuple[Path, Path] | None:
    if (options.tls_cert is None) != (options.tls_key is None):
        raise SettingsError("--tls-cert: needs --tls-key, and the other way round")
    return (
        None if options.tls_cert is None or options.tls_key is None else (options.tls_cert, options.tls_key)
    )


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    factor = number(text)
    if factor is None or not SPEED_MIN <= factor <= SPEED_MAX:
        raise SettingsError(f"--speed: must be {SPEED_MIN} to {SPEED_MAX}, or max, was {text!r}")
    return float(factor)


def _synthetic(options: SimulateOptions, symbols: tuple[str, ...]) -> SyntheticConfig | None:
    if not options.synthetic:
        return None
    try:
        schedule = parse_schedule(options.synthetic)
    except SimulatorError as error:
        raise SettingsError(f"--synthetic: {error}") from error
    chosen = symbols or SyntheticConfig().symbols
    return SyntheticConfig(seed=options.seed or 0, symbols=chosen, schedule=schedule)


def _relay(options: SimulateOptions, symbols: tuple[str, ...]) -> RelayConfig | None:
    if not options.relay:
        return None
    rest, _, streams = options.relay.partition(",")
    if not rest.startswith(("http://", "https://")) or not streams.startswith(("ws://", "wss://")):
        raise SettingsError(f"--relay: must be http(s)://HOST,ws(s)://HOST, was {options.relay!r}")
    if not symbols:
        raise SettingsError("--relay: needs --symbols")
    return RelayConfig(rest.rstrip("/"), streams.rstrip("/"), symbols)


def _latency(options: SimulateOptions) -> LatencyConfig:
    parts = options.latency.split(",")
    try:
        request, event, jitter = (float(part) for part in parts)
    except ValueError as error:
        raise SettingsError(f"--latency: must be three numbers of ms, was {options.latency!r}") from error
    if not all(0 <= value <= 60_000 for value in (request, event, jitter)):
        raise SettingsError("--latency: each part must be between 0 and 60000 ms")
    return LatencyConfig(request, jitter, event, jitter, options.seed or 0)


def _accounts(options: SimulateOptions) -> tuple[tuple[str, str, Decimal], ...]:
    first = (
        _key("--api-key", options.api_key),
        _secret("--api-secret", options.api_secret),
        inputs.wallet(options.wallet),
    )
    found = [first]
    for text in options.account or ():
        key, secret, wallet = _parts("--account", text, "KEY,SECRET,WALLET")
        found.append((_key("--account", key), _secret("--account", secret), inputs.wallet(wallet)))
    names = [key for key, _, _ in found]
    twice = next((key for key in names if names.count(key) > 1), None)
    if twice is not None:
        raise SettingsError(f"--account: the key {twice} is given twice")
    return tuple(found)


def _further_key(text: str) -> tuple[str, str, str]:
    account, key, secret = _parts("--key", text, "ACCOUNT,KEY,SECRET")
    return account, _key("--key", key), _secret("--key", secret)


def _parts(option: str, text: str, form: str) -> tuple[str, str, str]:
    parts = text.split(",")
    if len(parts) != 3:
        raise SettingsError(f"{option}: must be {form}, was {text!r}")
    return parts[0], parts[1], parts[2]


def _key(option: str, text: str) -> str:
    if not text.strip() or not text.isascii() or not text.isprintable():
        raise SettingsError(f"{option}: a key must be printable ASCII and not empty")
    return text


def _secret(option: str, text: str) -> str:
    """Return a secret as it is, or the contents of the PEM file behind `@`."""
    if not text.startswith("@"):
        if not text.strip() or not text.isascii() or not text.isprintable():
            raise SettingsError(f"{option}: a secret must be printable ASCII and not empty")
        return text
    try:
        pem = Path(text[1:]).read_text("ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{option}: the key file {text[1:]} cannot be read ({reason})") from error
    if not is_public_key(pem):
        raise SettingsError(f"{option}: {text[1:]} holds no PEM text of an RSA or Ed25519 public key")
    return pem


def _fee(option: str, text: str) -> Decimal:
    value = number(text)
    if value is None or not abs(value) < 1:
        raise SettingsError(f"{option}: must be a fraction such as 0.0005, was {text!r}")
    return value


def _one_of(option: str, text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise SettingsError(f"{option}: must be {' or '.join(allowed)}, was {text!r}")
    return text


def _scenario(options: SimulateOptions) -> Scenario:
    try:
        scenario = load(options.faults) if options.faults else Scenario()
    except SimulatorError as error:
        raise SettingsError(f"--faults: {error}") from error
    if options.seed is None:
        return scenario
    return Scenario(seed=options.seed, about=scenario.about, fault=scenario.fault)
