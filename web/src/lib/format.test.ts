import { describe, expect, it } from 'vitest';
import { age, clock, digitsOfStep, floorTo, money, parseDecimal, price, quantity, ratio } from './format';
import { shortSymbol, signedMoney, signedPercent, signedQuantity, tone } from './format';

describe('figures', () => {
  it('shows money with two digits, and a tiny fee with four', () => {
    expect(money(12345.678)).toBe('12,345.68');
    expect(money(0.0034)).toBe('0.0034');
    expect(money(-0)).toBe('0.00');
    expect(money(NaN)).toBe('—');
    expect(money(null)).toBe('—');
  });

  it('always carries a sign unless the figure reads as zero', () => {
    expect(signedMoney(5.5)).toBe('+5.50');
    expect(signedMoney(-1234.5)).toBe('-1,234.50');
    expect(signedMoney(0)).toBe('0.00');
    expect(signedMoney(0.00001)).toBe('0.00');
    expect(signedPercent(-2.345)).toBe('-2.35%');
    expect(signedQuantity(-0.05)).toBe('-0.05');
    expect(signedQuantity(0)).toBe('0');
    expect(signedQuantity(1e-9)).toBe('0');
  });

  it('colours only what is printed as non-zero', () => {
    expect(tone(0.2)).toBe('up');
    expect(tone(-0.2)).toBe('down');
    expect(tone(0.00001)).toBe('flat');
    expect(tone(undefined)).toBe('flat');
  });

  it('shows prices by tick when known, by size otherwise, and no price as missing', () => {
    expect(price(61234.5, 1)).toBe('61,234.5');
    expect(price(0.10213)).toBe('0.10213');
    expect(price(0)).toBe('—');
    expect(quantity(0.05)).toBe('0.05');
    expect(quantity(3000)).toBe('3,000');
    expect(quantity(0.1 + 0.2)).toBe('0.3');
  });

  it('says "no equity" for the 999 of the API', () => {
    expect(ratio(0.625)).toBe('62.5%');
    expect(ratio(999)).toBe('no equity');
  });
});

describe('times and symbols', () => {
  it('gives an age in the largest fitting unit', () => {
    expect(age(800)).toBe('0.8s');
    expect(age(12_000)).toBe('12s');
    expect(age(240_000)).toBe('4m');
    expect(age(-5)).toBe('0s');
  });

  it('adds the day only when it is another one', () => {
    const noon = new Date(2026, 10, 25, 12, 0, 0).getTime();
    expect(clock(noon, noon)).toBe('12:00:00');
    expect(clock(noon, noon + 86_400_000)).toBe('11-25 12:00:00');
    expect(clock('nonsense')).toBe('—');
  });

  it('shortens the unified symbol', () => {
    expect(shortSymbol('BTC/USDT:USDT')).toBe('BTC/USDT');
  });
});

describe('typed numbers', () => {
  it.each([
    ['1', 1],
    ['0.5', 0.5],
    ['.5', 0.5],
    ['2.', 2],
    [' 3 ', 3],
  ])('reads %s', (text, value) => {
    expect(parseDecimal(text)).toBe(value);
  });

  it.each(['', '-1', '1e3', '1,5', 'NaN', 'Infinity', '0x10', '1.2.3'])('refuses %s', (text) => {
    expect(parseDecimal(text)).toBeNull();
  });

  it('rounds down to the lot, never up', () => {
    expect(floorTo(0.0199999, 3)).toBe(0.019);
    expect(floorTo(0.3, 1)).toBe(0.3);
    expect(floorTo(-1, 3)).toBe(0);
  });

  it('counts the digits of a step', () => {
    expect([1, 0.1, 0.001, 1e-7].map(digitsOfStep)).toEqual([0, 1, 3, 7]);
  });
});
