"""Request bodies, strict: exact numbers, bounded texts, enums; further fields are ignored (spec 1)."""

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from pms.gateway.strict_json import NotNegativeNumber, Number, PositiveNumber, StrictBool
from pms.model.account import PositionSide

LEVERAGE_MAX = 125
SYMBOL_CHARACTERS_MAX = 64
ID_CHARACTERS = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) and len(value) < 16 else value


def _symbol(value: str) -> str:
    if not value.isprintable() or any(mark in value for mark in "<>\"'&\\ "):
        raise ValueError("is not a symbol")
    return value


def _name(value: str) -> str:
    name = value.strip().replace("'", "\u2019")
    # The browser makes "<user>'s Account": its apostrophe becomes a typographic one; no markup (H-30).
    if not name or not name.isprintable() or any(mark in name for mark in '<>&"'):
        raise ValueError('must be printable and without < > & "')
    return name


def _username(value: str) -> str:
    if not value.isprintable() or any(mark in value for mark in "<>&\"'"):
        raise ValueError("must be printable and without < > & \" '")
    return value


def _leverage(value: Number) -> Number:
    if not 1 <= value <= LEVERAGE_MAX:
        raise ValueError(f"must be between 1 and {LEVERAGE_MAX}")
    return value


NOT_NAMED = Decimal(0)
"""The leverage of an order that names none: the account's own for the symbol counts."""

Username = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_username)]
SymbolText = Annotated[str, Field(min_length=1, max_length=SYMBOL_CHARACTERS_MAX), AfterValidator(_symbol)]
AccountName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_name)]
Side = Annotated[PositionSide, BeforeValidator(_upper)]
Leverage = Annotated[PositiveNumber, AfterValidator(_leverage)]
IdText = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Body(BaseModel):
    """Base: camelCase on the wire, further fields ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", hide_input_in_errors=True
    )


class LoginBody(Body):
    username: str = Field(min_length=1, max_length=256)
    password: str = Field(min_length=1, max_length=4096)


class RegisterBody(Body):
    username: Username
    password: str = Field(min_length=1, max_length=256)


class NewAccountBody(Body):
    name: AccountName
    initial_balance: NotNegativeNumber = Decimal(0)
    type: Literal["USER", "BOT"] = "USER"


class ChangeAccountBody(Body):
    """`addBalance` of any sign and `status` are for admins only (H-1, H-2)."""

    name: AccountName | None = None
    add_balance: Number | None = None
    status: Literal["ACTIVE", "FROZEN"] | None = None


class RulesChangeBody(Body):
    max_leverage: Leverage
    max_notional_per_trade: PositiveNumber
    max_total_exposure: PositiveNumber
    liquidation_threshold: PositiveNumber = Field(le=1)


class MarketOrderBody(Body):
    """`quantity` in base units; `side` is the position side, any case. Without `leverage` the account's own
    for the symbol counts. `fallbackPrice` values the estimate of a fast answer, never a booking (H6)."""

    sub_account_id: IdText
    symbol: SymbolText
    side: Side
    quantity: PositiveNumber
    leverage: Leverage = NOT_NAMED
    reduce_only: StrictBool = False
    babysitter_excluded: StrictBool = True
    fast_execution: StrictBool = True
    fallback_price: PositiveNumber | None = None


class LimitOrderBody(Body):
    sub_account_id: IdText
    symbol: SymbolText
    side: Side
    quantity: PositiveNumber
    price: PositiveNumber
    leverage: Leverage = NOT_NAMED
    reduce_only: StrictBool = False
    time_in_force: Literal["GTC", "IOC", "FOK", "GTX"] = "GTC"


class BalanceBody(Body):
    """A figure, never null or text that means nothing (H-28)."""

    balance: NotNegativeNumber


class TransferBody(Body):
    to_sub_account_id: IdText
    amount: PositiveNumber


class LeverageBody(Body):
    sub_account_id: IdText
    symbol: SymbolText
    leverage: Leverage


class HouseCloseBody(Body):
    """`quantity` in base units; without one, all that the house holds."""

    symbol: SymbolText
    quantity: PositiveNumber | None = None


class HouseAssignBody(Body):
    symbol: SymbolText
    sub_account_id: IdText
    quantity: PositiveNumber
    leverage: Leverage


class KillSwitchBody(Body):
    """`source` is another than the operator's own only to release it: a rule's lock, an exchange's halt."""

    level: Literal["reduce-only", "halt", "flatten", "release"]
    reason: str = Field("", max_length=500)
    source: str = Field("operator", pattern=r"^(operator|exchange|rule:[a-z][a-z_]{0,40})$")

    @model_validator(mode="after")
    def _only_its_own(self) -> "KillSwitchBody":
        if self.level != "release" and self.source != "operator":
            raise ValueError("an operator sets his own restriction; others can only be released")
        if not self.reason.isprintable():
            raise ValueError("reason must be printable")
        return self


class LiquidationModeBody(Body):
    mode: Literal["ADL_30", "INSTANT_CLOSE", "TAKEOVER"]
