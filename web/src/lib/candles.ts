// Candles: reading the exchange's 12-element rows and folding live prices into the last candle. Pure.

export interface Candle {
  /** Open time, epoch ms. */
  openMs: number;
  open: number;
  high: number;
  low: number;
  close: number;
}

export const INTERVAL_MS: Record<string, number> = {
  '1m': 60_000,
  '5m': 300_000,
  '15m': 900_000,
  '1h': 3_600_000,
};

/** Sorted candles without repeated times; rows that are not finite are left out. */
export function readKlines(rows: unknown): Candle[] {
  if (!Array.isArray(rows)) return [];
  const byTime = new Map<number, Candle>();
  for (const row of rows) {
    if (!Array.isArray(row)) continue;
    const [openMs, open, high, low, close] = row.slice(0, 5).map(Number);
    const candle = { openMs, open, high, low, close } as Candle;
    if (Object.values(candle).every((value) => Number.isFinite(value))) byTime.set(candle.openMs, candle);
  }
  return [...byTime.values()].sort((one, other) => one.openMs - other.openMs);
}

/** The candle after one price: the last one extended, or a new one. `null` when the price is older. */
export function foldPrice(
  last: Candle | undefined,
  tsMs: number,
  price: number,
  intervalMs: number,
): Candle | null {
  if (!(price > 0) || !Number.isFinite(tsMs)) return null;
  const openMs = Math.floor(tsMs / intervalMs) * intervalMs;
  if (!last || openMs > last.openMs) {
    const open = last && openMs === last.openMs + intervalMs ? last.close : price;
    return { openMs, open, high: Math.max(open, price), low: Math.min(open, price), close: price };
  }
  if (openMs < last.openMs) return null;
  return { ...last, high: Math.max(last.high, price), low: Math.min(last.low, price), close: price };
}
