"""Pure planners: book state and a request in, row writes, new states and events out. No I/O, no clock."""
