"""`pms simulate`: only the exchange simulator."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pms.commands import inputs
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
    wallet = inputs.wallet(options.wallet)
    for name, value in (("--api-key", options.api_key), ("--api-secret", options.api_secret)):
        if not value.strip() or not value.isascii() or not value.isprintable():
            raise SettingsError(f"{name}: must be printable ASCII and not empty")
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
