"""The Binance USDⓈ-M futures adapter: the exchange port spoken in the venue's REST and WebSocket protocol."""

from pms.exchange.binance.adapter import BinanceExchange
from pms.exchange.binance.config import BinanceConfig

__all__ = ["BinanceConfig", "BinanceExchange"]
