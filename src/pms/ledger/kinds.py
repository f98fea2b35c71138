"""Why the house's cash or position changed: the kinds of its lines."""

from enum import StrEnum


class HouseLineKind(StrEnum):
    """Why the house's cash or position changed; one line for each reason (decision 6)."""

    CAPITAL = "CAPITAL"
    TRANSFER = "TRANSFER"
    FILL = "FILL"
    SUSPENSE = "SUSPENSE"
    LATE_FILL = "LATE_FILL"
    TAKEOVER = "TAKEOVER"
    POOL = "POOL"
    ASSIGNMENT = "ASSIGNMENT"
    DUST = "DUST"
    INSURANCE = "INSURANCE"
    ROUNDING = "ROUNDING"
    NETTING_DIFFERENCE = "NETTING_DIFFERENCE"
    OPENING_DIFFERENCE = "OPENING_DIFFERENCE"
    WRITE_OFF = "WRITE_OFF"
    FUNDING = "FUNDING"
    INCOME = "INCOME"
    FEE_ASSET = "FEE_ASSET"
