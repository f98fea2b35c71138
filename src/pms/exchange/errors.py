"""Exceptions of the exchange adapter.

PmsError
└── ExchangeError              the exchange could not be asked, or answered nonsense; retry later
    ├── ExchangeUnavailable    network, time-out, 5xx, ban, local budget
    ├── ExchangeRefusal        the exchange refused a query: carries `code` and `message`
    ├── UnreadablePayload      an answer or event that cannot be understood, or an unlisted symbol
    ├── AccountGuardError      the real account is not one-way, cross, single-asset (decision 15)
    └── ApiKeyError            the API secret cannot sign: mend the setting, then start again
"""

from pms.model.errors import PmsError


class ExchangeError(PmsError):
    """A query of the exchange failed. Order outcomes are values of the port, never exceptions."""


class ExchangeUnavailable(ExchangeError):
    """The exchange cannot be reached or will not answer now."""


class ExchangeRefusal(ExchangeError):
    """The exchange refused a query; `code` is its number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"the exchange refused the request: {message} ({code})")
        self.code = code
        self.message = message


class UnreadablePayload(ExchangeError):
    """What the exchange said cannot be translated: a malformed field, or a symbol it does not list."""


class AccountGuardError(ExchangeError):
    """The real account's mode would break the ledger's arithmetic; trading must not start."""


class ApiKeyError(ExchangeError):
    """The API secret is no key that can sign. The text never quotes it."""
