"""Writes docs/fidelity.md and its pictures from measured results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.fidelity.measure import PASSIVE_MS, PassiveOrder, Result

DOCS = Path(__file__).resolve().parents[2] / "docs"
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 300, 50, 40

INTRODUCTION = """# How close the simulator's fills are to the tape

<!-- Made by `make fidelity`; do not edit. -->

The simulator replays recordings of the exchange and fills our orders against them. This page holds its
fills against the recorded tape itself. Two claims are measured, and a test asserts them on a slice of each
recording that ships (`tests/unit/simulator/test_fidelity.py`):

1. **Aggressive orders** of at most the displayed quantity, each alone, fill at exactly the best opposite
   quote: at least 99 %.
2. **Passive orders** fill no earlier than an order at the front of the queue could, and no later than one
   at the back must. Both bounds are computed from the tape alone (`bench/fidelity/tape.py` uses nothing of
   the simulator).

`make fidelity` measures the recordings that ship; `make fidelity ARGS="FILE.jsonl.gz …"` adds others, and
with `--print` writes no page. The model itself and what it leaves out: [decision
0008](decisions/0008-simulator-fill-model.md).
"""

AGGRESSIVE = """
## Aggressive orders

Beside each taker of the recording (trades of one side within one ms count as one) a MARKET order of the
same side is sent, of the taker's size, at most of the displayed one (of all that is displayed where the
taker's is below the smallest order). *Alone*: before each, what our earlier orders took is given back, as
none of them was on the tape either. *In sequence*: nothing is given back, so that an order finds what the
ones before it left of the same quote, and walks the book for the rest; that is how clients of the simulator
trade. *Too small* were not sent: the quote displays less than the smallest order. The last column says how
often the recording's own taker began exactly at the best quote seen just before it; quotes and trades come
over different paths, so that even the exchange's own trades do not always match the quote received before
them.

| recording | symbols | orders | alone, at the best | worst | in sequence | too small | the tape itself |
|---|---|---|---|---|---|---|---|
"""

PASSIVE = """
## Passive orders

One post-only order of the smallest size stands at the best price, one a tick behind it and one three ticks
behind (the latter two only where depth was recorded), on both sides, for at most {seconds} s each; a new one
is placed at the next half second after the last has ended. *Front* is an order that takes every trade at its
price. *Back* waits until everything displayed at its price when it was placed has traded; nobody ahead ever
cancels. A trade beyond the price, or an opposite quote at or beyond it, fills both whole. *Within* means: at
every moment, filled quantity at the back <= simulated <= at the front. *Median* is the time to fill of those
that filled.

| recording | depth | orders | within | filled: front | simulated | back | median: front | simulated | back |
|---|---|---|---|---|---|---|---|---|---|
"""


def write(results: Sequence[Result], queue_model: str) -> None:
    """Write the page and one picture for each recording."""
    parts = [INTRODUCTION, f"\nQueue model: `{queue_model}`.\n", AGGRESSIVE]
    parts += [_aggressive_row(result) for result in results]
    parts += [PASSIVE.format(seconds=PASSIVE_MS // 1000)]
    parts += [_passive_row(result) for result in results]
    parts.append("\nShare of passive orders filled, over the time since they were placed:\n")
    for result in results:
        name = f"fidelity-{_stem(result)}.svg"
        (DOCS / name).write_text(picture(result))
        parts.append(f"\n![{_stem(result)}]({name})\n")
    (DOCS / "fidelity.md").write_text("".join(parts))


def _stem(result: Result) -> str:
    stem = result.path.name.removesuffix(".jsonl.gz")
    return f"{stem}-with-depth" if result.deep else stem


def _aggressive_row(result: Result) -> str:
    figures = result.aggressive
    worst = max(figures.ticks, key=abs, default=0)
    taken = sum(figures.tape_ticks.values())
    tape = figures.tape_ticks[0] / taken if taken else 0.0
    return (
        f"| {result.path.name} ({result.seconds:.0f} s) | {', '.join(result.symbols)} | {figures.orders:,} "
        f"| {figures.share:.2%} | {worst} ticks | {result.in_sequence.share:.2%} "
        f"| {figures.small:,} | {tape:.1%} |\n"
    )


def _median(orders: Sequence[PassiveOrder], name: str) -> str:
    times = sorted(t for order in orders if (t := getattr(order, name)) is not None)
    return f"{times[len(times) // 2] / 1000:.2f} s" if times else "-"


def _passive_row(result: Result) -> str:
    orders = result.passive
    inside = sum(order.inside for order in orders)
    columns = ("front", "filled", "back")
    shares = [sum(getattr(o, c) is not None for o in orders) / len(orders) if orders else 0 for c in columns]
    return (
        f"| {result.path.name} | {'recorded' if result.deep else 'none'} | {len(orders):,} "
        f"| {inside / max(1, len(orders)):.2%} | "
        + " | ".join(f"{share:.1%}" for share in shares)
        + " | "
        + " | ".join(_median(orders, column) for column in columns)
        + " |\n"
    )


def _curve(orders: Sequence[PassiveOrder], name: str) -> str:
    """Return the points of a step line: share of orders filled, over time."""
    times = sorted(t for order in orders if (t := getattr(order, name)) is not None)
    points = [(0.0, 0.0)]
    for number, moment in enumerate(times, 1):
        points += [(moment, points[-1][1]), (moment, number / max(1, len(orders)))]
    points.append((PASSIVE_MS, points[-1][1]))
    kept = [*points[:: max(1, len(points) // 300)], points[-1]]
    width, height = WIDTH - LEFT - 10, HEIGHT - BOTTOM - 20
    return " ".join(
        f"{LEFT + min(ms, PASSIVE_MS) / PASSIVE_MS * width:.1f},{HEIGHT - BOTTOM - share * height:.1f}"
        for ms, share in kept
    )


def picture(result: Result) -> str:
    """Return the SVG of one recording: front, simulated and back of the queue."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    width, height = WIDTH - LEFT - 10, HEIGHT - BOTTOM - 20
    for tenth in range(0, 11, 2):
        y = HEIGHT - BOTTOM - tenth / 10 * height
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth * 10} %</text>')
    for second in range(0, PASSIVE_MS // 1000 + 1, 5):
        x = LEFT + second * 1000 / PASSIVE_MS * width
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{second} s</text>')
    for number, (name, label, colour) in enumerate(
        (
            ("front", "front of the queue", "#2a9d8f"),
            ("filled", "simulated", "#222222"),
            ("back", "back", "#e76f51"),
        )
    ):
        points = _curve(result.passive, name)
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        lines.append(f'<text x="{LEFT + 20 + number * 150}" y="{HEIGHT - 6}" fill="{colour}">{label}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"
