import { describe, expect, it } from 'vitest';
import { emptyBook, upsertAccount } from './book';
import { inputError, notionalMax, quantityFor, randomKey } from './ticket';
import type { TicketInput } from './ticket';

function account(availableMargin: number, rules = {}) {
  const row = upsertAccount(emptyBook(), { id: 'a', name: 'Alpha', currentBalance: availableMargin });
  row.rules = rules;
  return row;
}

const order: TicketInput = {
  side: 'LONG',
  type: 'MARKET',
  quantity: 1,
  leverage: 10,
  limitPrice: null,
  reduceOnly: false,
};

describe('quantityFor', () => {
  it('keeps below the margin and rounds down to the lot', () => {
    const value = quantityFor(account(1000), 1, 10, 60_000, 3);
    expect(value).toBe(0.161);
    expect((value * 60_000) / 10).toBeLessThan(1000 * 0.98);
  });

  it('respects the rule per trade and what the exposure rule leaves', () => {
    expect(notionalMax(account(1000, { maxNotionalPerTrade: 200 }), 10)).toBe(200);
    const exposed = account(1000, { maxTotalExposure: 500 });
    exposed.totalExposure = 450;
    expect(notionalMax(exposed, 10)).toBe(50);
    exposed.totalExposure = 600;
    expect(notionalMax(exposed, 10)).toBe(0);
  });

  it('is zero without a price, a leverage or money', () => {
    expect(quantityFor(account(1000), 1, 10, 0, 3)).toBe(0);
    expect(quantityFor(account(1000), 1, 0, 60_000, 3)).toBe(0);
    expect(quantityFor(account(-5), 1, 10, 60_000, 3)).toBe(0);
  });
});

describe('inputError', () => {
  it('passes a complete order and names what is missing', () => {
    expect(inputError(order, 20)).toBe('');
    expect(inputError({ ...order, quantity: null }, 20)).toContain('quantity');
    expect(inputError({ ...order, leverage: 0 }, 20)).toContain('leverage');
    expect(inputError({ ...order, leverage: 21 }, 20)).toContain('20×');
    expect(inputError({ ...order, type: 'LIMIT' }, 20)).toContain('price');
    expect(inputError({ ...order, type: 'LIMIT', limitPrice: 5 }, 20)).toBe('');
  });
});

describe('randomKey', () => {
  it('is a version 4 UUID and does not repeat', () => {
    const keys = new Set(Array.from({ length: 100 }, randomKey));
    expect(keys.size).toBe(100);
    for (const key of keys)
      expect(key).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});
