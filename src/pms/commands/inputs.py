"""What a person types at a command, held to the same bounds as a request to the API."""

from decimal import Decimal
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from pms.gateway.requests import AccountName, Username
from pms.gateway.strict_json import NotNegativeNumber, PositiveNumber
from pms.model.money import Money
from pms.settings import SettingsError

Value = TypeVar("Value")

_USERNAME: TypeAdapter[str] = TypeAdapter(Username)
_ACCOUNT_NAME: TypeAdapter[str] = TypeAdapter(AccountName)
_AMOUNT: TypeAdapter[Decimal] = TypeAdapter(PositiveNumber)
_BALANCE: TypeAdapter[Decimal] = TypeAdapter(NotNegativeNumber)


def username(text: str) -> str:
    """Return a user name that can log in. Raises SettingsError."""
    return _checked(_USERNAME, "the user name", text)


def account_name(text: str) -> str:
    """Return a sub-account's name as the API would keep it. Raises SettingsError."""
    return _checked(_ACCOUNT_NAME, "the account name", text)


def amount(text: str) -> Money:
    """Return an amount of USDT above zero. Raises SettingsError."""
    return Money(_checked(_AMOUNT, "the amount of USDT", text))


def opening_balance(text: str) -> Money:
    """Return an amount of USDT, zero or more. Raises SettingsError."""
    return Money(_checked(_BALANCE, "--balance, USDT,", text))


def wallet(text: str) -> Money:
    """Return the opening wallet of a simulated exchange account, USDT. Raises SettingsError."""
    return Money(_checked(_BALANCE, "--wallet, USDT,", text))


def password(text: str | None) -> str | None:
    """Return a given password, or None when a random one is wanted. Raises SettingsError for an empty one."""
    if text == "":
        raise SettingsError("the password on standard input is empty; without --password-stdin one is made")
    return text


def _checked(adapter: TypeAdapter[Value], what: str, text: str) -> Value:
    try:
        return adapter.validate_python(text)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{what} {reason}, was {text!r}") from error
