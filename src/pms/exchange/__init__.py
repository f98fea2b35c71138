"""The exchange port and its Binance USDⓈ-M adapter: the only package that knows the venue's protocol."""
