"""What the `pms` command does, one module for each command; imported only when the command runs.

`simulate_options` holds options only and is imported with the command line.
"""
