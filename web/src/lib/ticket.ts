// The arithmetic of the order ticket: largest quantity, preview, and what is wrong with the input. Pure.

import { floorTo } from './format';
import type { AccountRow, Side } from './types';

/** Usage of 98 % is refused by the gate and the fee is paid from the same purse: stay below both. */
const USABLE_PART = 0.97;

export interface TicketInput {
  side: Side;
  type: 'MARKET' | 'LIMIT';
  quantity: number | null;
  leverage: number | null;
  limitPrice: number | null;
  reduceOnly: boolean;
}

/** Largest notional that margin, leverage and the account's rules allow for a new exposure. */
export function notionalMax(account: AccountRow, leverage: number): number {
  const { maxNotionalPerTrade, maxTotalExposure } = account.rules;
  let notional = Math.max(0, account.availableMargin) * leverage * USABLE_PART;
  if (maxNotionalPerTrade) notional = Math.min(notional, maxNotionalPerTrade);
  if (maxTotalExposure) notional = Math.min(notional, maxTotalExposure - account.totalExposure);
  return Math.max(0, notional);
}

/** Quantity for `fraction` (0..1) of what is possible, rounded down to the lot. */
export function quantityFor(
  account: AccountRow,
  fraction: number,
  leverage: number,
  atPrice: number,
  digits: number,
): number {
  if (!(atPrice > 0) || !(leverage > 0)) return 0;
  return floorTo((notionalMax(account, leverage) * fraction) / atPrice, digits);
}

/** First thing that is wrong, or an empty text when the order can be sent. */
export function inputError(input: TicketInput, leverageMax: number): string {
  if (input.quantity === null || input.quantity <= 0) return 'Enter a quantity above zero.';
  if (input.leverage === null || input.leverage <= 0) return 'Enter a leverage above zero.';
  if (input.leverage > leverageMax) return `Leverage above this account's limit of ${leverageMax}×.`;
  if (input.type === 'LIMIT' && (input.limitPrice === null || input.limitPrice <= 0)) {
    return 'Enter a limit price above zero.';
  }
  return '';
}

/** Random UUID v4. `crypto.randomUUID` exists only on https and localhost; a phone may come over http. */
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
