"""The words of the domain: accounts, positions, orders, fills, prices, refusals. No I/O."""
