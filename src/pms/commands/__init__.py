"""What the `pms` command does, one module for each command; imported only when the command runs."""
