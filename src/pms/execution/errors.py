"""Exceptions of execution.

PmsError
└── ExecutionError      execution cannot go on: a part is stopped or a rule of the house was broken
    └── NotRunning      the service was asked to work before its start or after its stop
"""

from pms.model.errors import PmsError


class ExecutionError(PmsError):
    """Base of execution's exceptions. Refusals and unknown outcomes are values, never exceptions."""


class NotRunning(ExecutionError):
    """The part is not running; nothing was sent."""
