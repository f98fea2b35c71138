"""A Binance-compatible USDⓈ-M futures exchange on recorded market data: the embedded default exchange."""

from pms.simulator.config import SimulatorConfig
from pms.simulator.errors import SimulatorError
from pms.simulator.recordings_index import RECORDINGS, recording, recordings
from pms.simulator.simulator import Simulator

__all__ = ["RECORDINGS", "Simulator", "SimulatorConfig", "SimulatorError", "recording", "recordings"]
