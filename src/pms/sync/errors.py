"""Exceptions of synchronisation.

PmsError
└── SyncError           the ledger and the exchange could not be brought together; trading must not start
"""

from pms.model.errors import PmsError


class SyncError(PmsError):
    """Start-up reconciliation failed; the text says on what."""
