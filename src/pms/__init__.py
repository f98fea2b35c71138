"""PMS: virtual sub-accounts that share one Binance USD-M futures account."""

__version__ = "0.1.0"
