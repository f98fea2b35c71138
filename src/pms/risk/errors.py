"""Exceptions of the risk package.

PmsError
└── RiskError           the risk book was used against its rules
    ├── UnknownAccount  a position or question names an account that the book does not hold
    └── KernelMissing   the compiled kernel was asked for and is not built
"""

from pms.model.errors import PmsError


class RiskError(PmsError):
    """Base of the risk package's exceptions. Refusals and decisions are values, never exceptions."""


class UnknownAccount(RiskError):
    """The account is not in the book; call `set_account` first."""


class KernelMissing(RiskError):
    """The setting wants the compiled kernel, which this installation does not have."""
