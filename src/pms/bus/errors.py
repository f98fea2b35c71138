"""Exceptions of shared state.

    PmsError
    └── BusError
        └── BusUnavailable      shared state gave no answer in time, or is known to be away; nothing is known
            └── BusRefused      the server answered with an error (rights, memory, wrong type)

Callers that must know catch BusUnavailable; the projection counts it and goes on.
"""

from pms.model.errors import PmsError


class BusError(PmsError):
    """Base of the bus's exceptions."""


class BusUnavailable(BusError):
    """Shared state cannot be used now. A write may or may not have happened."""


class BusRefused(BusUnavailable):
    """The server refused the command; repeating it unchanged will not help."""
