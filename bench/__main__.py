"""Runs the benchmarks: all of them, or those named on the command line."""

import sys

from bench import (
    decode,
    liquidation_limit,
    liquidation_tick,
    orders,
    recovery,
    rest_round_trip,
    signing,
    stream_ingest,
    tick_to_decision,
)

BENCHES = {
    "tick_to_decision": tick_to_decision.main,
    "orders": orders.main,
    "liquidation_tick": liquidation_tick.main,
    "liquidation_limit": liquidation_limit.main,
    "recovery": recovery.main,
    "stream_ingest": stream_ingest.main,
    "decode": decode.main,
    "rest_round_trip": rest_round_trip.main,
    "signing": signing.main,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, every one without names. Returns 2 for an unknown name."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in names or BENCHES:
        BENCHES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
