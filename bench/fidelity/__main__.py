"""Measures how close simulated fills are to recorded tapes.

python -m bench.fidelity [--print] [--queue-model power|risk_averse] [--seconds N] [FILE.jsonl.gz ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.fidelity import page
from bench.fidelity.measure import Result, measure
from pms.simulator.queue_model import MODELS
from pms.simulator.recordings_index import recording


def _line(result: Result) -> str:
    figures, orders = result.aggressive, result.passive
    inside = sum(order.inside for order in orders)
    depth = "recorded depth" if result.deep else "no depth"
    return (
        f"{result.path.name} ({depth}, {result.seconds:.0f} s):"
        f" aggressive {figures.share:.2%} of {figures.orders} at the best opposite quote"
        f" ({result.in_sequence.share:.2%} in sequence);"
        f" passive {inside} of {len(orders)} within the bounds"
    )


def main() -> int:
    """Measure, tell, write the page; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(prog="bench.fidelity", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--print", action="store_true", help="write no page")
    parser.add_argument("--queue-model", default="power", choices=sorted(MODELS))
    parser.add_argument("--seconds", type=float, default=1e9, help="only the beginning of each recording")
    chosen = parser.parse_args()
    results = []
    for path in [recording("calm"), recording("funding"), *chosen.files]:
        results.append(measure(path, chosen.seconds, chosen.queue_model))
        print(_line(results[-1]), flush=True)
    if not chosen.print:
        page.write(results, chosen.queue_model)
    held = all(r.aggressive.share >= 0.99 and all(o.inside for o in r.passive) for r in results)
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
