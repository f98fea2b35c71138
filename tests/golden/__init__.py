"""Golden vectors: `python -m tests.golden FILE…` runs files of the format of ledger spec section 11."""
