"""The words that settings take: roles and phases, modes, policies; `pms.settings` uses them."""

from enum import StrEnum

from pms.model.errors import PmsError


class SettingsError(PmsError):
    """A setting is unusable; the text names the variable and the rule, never the value of a secret."""


class Role(StrEnum):
    """What one process may do (decision 29)."""

    MARKET_DATA = "market-data"
    USER_STREAM = "user-stream"
    ENGINE = "engine"
    BABYSITTER_ACTIONS = "babysitter-actions"
    ALGOS = "algos"
    GATEWAY = "gateway"


class FlipMode(StrEnum):
    """What an order against an opposite position means (decision 17)."""

    NET = "net"
    INCUMBENT = "incumbent"


class MaintenanceModel(StrEnum):
    """How maintenance margin is computed (decision 20)."""

    INCUMBENT = "incumbent"
    BRACKETS = "brackets"


class PublishedPrice(StrEnum):
    """What `mark` means in `pms:price:*`; our own risk always uses the exchange's mark (Redis spec 3.1)."""

    INCUMBENT = "incumbent"
    MARK = "mark"
    MID = "mid"


class ExchangeTrading(StrEnum):
    """Which way single orders travel to the exchange."""

    REST = "rest"
    WEBSOCKET = "websocket"


class Registration(StrEnum):
    """Whether strangers may sign up."""

    OFF = "off"
    PENDING = "pending"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_PHASE_ROLES: tuple[frozenset[Role], ...] = (
    frozenset({Role.MARKET_DATA}),
    frozenset({Role.USER_STREAM}),
    frozenset({Role.ENGINE, Role.BABYSITTER_ACTIONS}),
    frozenset({Role.ALGOS}),
    frozenset({Role.GATEWAY}),
)


def roles_for_phase(phase: int | None) -> frozenset[Role]:
    """Return the roles of a migration phase, each phase adding to the one before; None: every role.

    Raises SettingsError for a number outside 1 to 5.
    """
    if phase is None:
        return frozenset(Role)
    if not 1 <= phase <= len(_PHASE_ROLES):
        raise SettingsError(f"PMS_PHASE: must be 1 to {len(_PHASE_ROLES)}, was {phase}")
    return frozenset().union(*_PHASE_ROLES[:phase])


class HousePolicy(StrEnum):
    """What the house does with positions that it got: keep them, or trade them away (decision 6)."""

    HOLD = "hold"
    UNWIND = "unwind"


class ForeignClose(StrEnum):
    """Who bears a fill that nobody here ordered: the holders of the reduced side, or the house (decision
    11)."""

    ALLOCATE = "allocate"
    HOUSE = "house"


class RiskKernel(StrEnum):
    """What evaluates a tick; `auto` takes the compiled kernel where it was built."""

    AUTO = "auto"
    NATIVE = "native"
    NUMPY = "numpy"
