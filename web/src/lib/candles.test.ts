import { describe, expect, it } from 'vitest';
import { foldPrice, readKlines } from './candles';

const MINUTE = 60_000;

describe('readKlines', () => {
  it('reads the string columns, sorts, and keeps the last of repeated times', () => {
    const rows = [
      [2 * MINUTE, '2', '3', '1', '2.5', '9', 0, '0', 0, '0', '0', '0'],
      [MINUTE, '1', '2', '0.5', '1.5', '9', 0, '0', 0, '0', '0', '0'],
      [2 * MINUTE, '2', '4', '1', '3', '9', 0, '0', 0, '0', '0', '0'],
      ['x', 'y'],
    ];
    const candles = readKlines(rows);
    expect(candles.map((candle) => candle.openMs)).toEqual([MINUTE, 2 * MINUTE]);
    expect(candles[1]).toEqual({ openMs: 2 * MINUTE, open: 2, high: 4, low: 1, close: 3 });
  });

  it('takes an error object for no candles', () => {
    expect(readKlines({ error: 'upstream' })).toEqual([]);
  });
});

describe('foldPrice', () => {
  const last = { openMs: MINUTE, open: 10, high: 11, low: 9, close: 10 };

  it('extends the last candle', () => {
    expect(foldPrice(last, MINUTE + 500, 12, MINUTE)).toEqual({ ...last, high: 12, close: 12 });
    expect(foldPrice(last, MINUTE + 500, 8, MINUTE)).toEqual({ ...last, low: 8, close: 8 });
  });

  it('opens the next one at the last close, but not across a gap', () => {
    expect(foldPrice(last, 2 * MINUTE, 12, MINUTE)).toEqual({
      openMs: 2 * MINUTE,
      open: 10,
      high: 12,
      low: 10,
      close: 12,
    });
    expect(foldPrice(last, 5 * MINUTE, 12, MINUTE)?.open).toBe(12);
    expect(foldPrice(undefined, 5 * MINUTE + 3, 12, MINUTE)?.openMs).toBe(5 * MINUTE);
  });

  it('ignores old and impossible prices', () => {
    expect(foldPrice(last, MINUTE - 1, 12, MINUTE)).toBeNull();
    expect(foldPrice(last, MINUTE + 1, 0, MINUTE)).toBeNull();
    expect(foldPrice(last, MINUTE + 1, NaN, MINUTE)).toBeNull();
  });
});
