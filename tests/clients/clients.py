"""Which third-party clients are tried, and how each is started."""

from tests.clients.environments import Client

CLIENTS = (
    Client("ccxt", "ccxt", "use_ccxt.py"),
    Client("python-binance", "python-binance", "use_python_binance.py"),
    Client("binance-sdk", "binance-sdk-derivatives-trading-usds-futures", "use_binance_sdk.py"),
    Client(
        "nautilus",
        "nautilus_trader",
        "use_nautilus.py",
        large=True,
        newer_python=True,
        options=("--recording", "calm", "--stream-routing", "legacy"),
        seconds_max=180.0,
    ),
    Client("freqtrade", "freqtrade", "use_freqtrade.py", large=True, seconds_max=240.0),
    Client("binance-npm", "binance", "use_binance_npm.cjs", large=True, node=True),
)
