"""Margin maths, the order gate, the columnar risk book, liquidation policy, netting. Decides; never acts."""
