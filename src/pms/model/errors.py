"""The root of every exception tree of PMS.

    PmsError
    ├── InvariantError         a rule of the house was broken; a programming error, never user input
    ├── ledger.errors.LedgerError …
    ├── bus.errors.BusError …
    ├── exchange.errors.ExchangeError …
    ├── simulator.errors.SimulatorError …
    └── gateway.errors.GatewayError …

Expected outcomes (a refusal, an order the exchange rejects) are return values, not exceptions.
"""


class PmsError(Exception):
    """Base of all errors that PMS raises on purpose; its text says what, to what, and what to do."""


class InvariantError(PmsError):
    """A numbered invariant of the design does not hold. Money invariants stay on in production."""
