"""Reconciliation with the exchange: stream events, gap filling and start-up recovery."""
