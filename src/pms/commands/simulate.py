"""`pms simulate`: only the exchange simulator."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from pms.settings import SettingsError
from pms.simulator.config import SimulatorConfig
from pms.simulator.recordings_index import files_of
from pms.simulator.run import main_async


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """The command's options; `recording` is a built-in name or a file."""

    host: str
    port: int
    data_path: Path | None
    recording: str
    speed: float
    api_key: str
    api_secret: str
    wallet: str


async def simulate(options: SimulateOptions, say: Callable[[str], None]) -> int:
    """Serve until a signal. Raises SettingsError and SimulatorError."""
    try:
        wallet = Decimal(options.wallet)
    except InvalidOperation:
        wallet = Decimal("NaN")
    if not wallet.is_finite() or wallet < 0:
        raise SettingsError(f"--wallet: must be a number of USDT, was {options.wallet!r}")
    config = SimulatorConfig(
        data_path=options.data_path,
        recordings=files_of(options.recording),
        speed=options.speed,
        host=options.host,
        port=options.port,
        accounts=((options.api_key, options.api_secret, wallet),),
    )
    say(f"API key    {options.api_key}")
    await main_async(config, say)
    return 0
