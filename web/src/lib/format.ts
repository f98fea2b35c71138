// Turns numbers and times into the texts on the page, and typed text into numbers. Pure.

const formatters = new Map<string, Intl.NumberFormat>();

function formatter(digitsMin: number, digitsMax: number): Intl.NumberFormat {
  const key = `${digitsMin}:${digitsMax}`;
  let found = formatters.get(key);
  if (!found) {
    found = new Intl.NumberFormat('en-US', {
      minimumFractionDigits: digitsMin,
      maximumFractionDigits: digitsMax,
    });
    formatters.set(key, found);
  }
  return found;
}

export const MISSING = '—';

function finite(value: number | null | undefined): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

/** Money with two digits, four below one cent so that small fees do not read as zero. */
export function money(value: number | null | undefined): string {
  if (!finite(value)) return MISSING;
  const size = Math.abs(value);
  const digits = size > 0 && size < 0.01 ? 4 : 2;
  return formatter(digits, digits).format(value === 0 ? 0 : value);
}

/** Money with an explicit sign: the sign, not the colour alone, says which way it went. */
export function signedMoney(value: number | null | undefined): string {
  if (!finite(value)) return MISSING;
  const text = money(Math.abs(value));
  if (Number(text.replaceAll(',', '')) === 0) return '0.00';
  return (value > 0 ? '+' : '-') + text;
}

/** Percent points (already multiplied by 100) with sign and two digits. */
export function signedPercent(value: number | null | undefined): string {
  if (!finite(value)) return MISSING;
  const text = formatter(2, 2).format(Math.abs(value));
  if (Number(text.replaceAll(',', '')) === 0) return '0.00%';
  return `${value > 0 ? '+' : '-'}${text}%`;
}

/** Digits that show a price of this size with about six significant figures. */
export function priceDigits(value: number): number {
  const size = Math.abs(value);
  if (size >= 1000) return 2;
  if (size >= 10) return 3;
  if (size >= 1) return 4;
  if (size >= 0.01) return 5;
  return 8;
}

export function price(value: number | null | undefined, digits?: number): string {
  if (!finite(value) || value <= 0) return MISSING;
  const shown = digits ?? priceDigits(value);
  return formatter(shown, shown).format(value);
}

/** Base quantity: at least `digits` decimals when known, never more than eight. */
export function quantity(value: number | null | undefined, digits?: number): string {
  if (!finite(value)) return MISSING;
  return formatter(digits ?? 0, Math.max(digits ?? 0, 8)).format(value === 0 ? 0 : value);
}

export function signedQuantity(value: number | null | undefined): string {
  if (!finite(value)) return MISSING;
  const text = quantity(Math.abs(value));
  if (Number(text.replaceAll(',', '')) === 0) return '0';
  return (value > 0 ? '+' : '-') + text;
}

/** Ratio (fraction) as percent; a margin ratio of 999 means "no equity left". */
export function ratio(value: number | null | undefined): string {
  if (!finite(value)) return MISSING;
  if (value >= 99) return 'no equity';
  return `${formatter(1, 1).format(value * 100)}%`;
}

/** `BTC/USDT:USDT` as `BTC/USDT`. */
export function shortSymbol(symbol: string): string {
  return symbol.split(':')[0] ?? symbol;
}

export function baseOf(symbol: string): string {
  return symbol.split('/')[0] ?? symbol;
}

/** How long ago, in the largest fitting unit: `0.8s`, `12s`, `4m`, `3h`. */
export function age(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) return '0s';
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)}s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)}s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)}m`;
  return `${Math.round(ms / 3_600_000)}h`;
}

/** Local wall time `14:03:22`, with the day before it when it is not today. */
export function clock(value: string | number | undefined, nowMs: number = Date.now()): string {
  const time = new Date(value ?? NaN);
  if (Number.isNaN(time.getTime())) return MISSING;
  const pad = (part: number): string => String(part).padStart(2, '0');
  const text = `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}`;
  if (new Date(nowMs).toDateString() === time.toDateString()) return text;
  return `${pad(time.getMonth() + 1)}-${pad(time.getDate())} ${text}`;
}

/** Digits after the point of a step such as 0.001 (3) or 1e-7 (7). */
export function digitsOfStep(step: number): number {
  if (!Number.isFinite(step) || step <= 0) return 0;
  for (let digits = 0; digits <= 12; digits += 1) {
    if (Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) < 1e-9) return digits;
  }
  return 12;
}

/** Strict decimal: digits and one point. `null` for anything else, never NaN or a half-read number. */
export function parseDecimal(text: string): number | null {
  const trimmed = text.trim();
  if (!/^(\d+(\.\d*)?|\.\d+)$/.test(trimmed)) return null;
  const value = Number(trimmed);
  return Number.isFinite(value) ? value : null;
}

/** Largest quantity with `digits` decimals that is not above `value`. */
export function floorTo(value: number, digits: number): number {
  if (!Number.isFinite(value) || value <= 0) return 0;
  const scale = 10 ** digits;
  return Math.floor(value * scale + 1e-9) / scale;
}

export type Tone = 'up' | 'down' | 'flat';

/** Colour class of a signed figure; a value that is printed as zero is flat. */
export function tone(value: number | null | undefined): Tone {
  if (!finite(value) || Math.abs(value) < 0.00005) return 'flat';
  return value > 0 ? 'up' : 'down';
}
