// The page's copy of the server's state and how snapshots and socket events change it. Pure: rows change in
// place, so that a reactive proxy repaints only the cells that differ and tests run on plain objects.

import type { AccountRow, AccountStatus, ExposureHolder, ExposureRow, FillRow, Frame } from './types';
import type { OrderRow, PositionRow, PriceRow, Rules, Severity, Side } from './types';
import { LEVEL_TEXTS, levelOf } from './restrictions';
import { baseOf, money, price, quantity, ratio, shortSymbol, signedMoney } from './format';

/** Closed ids kept to reject late frames; the oldest is forgotten first. */
const CLOSED_MAX = 500;

export interface Book {
  accounts: Record<string, AccountRow>;
  positions: Record<string, PositionRow>;
  orders: Record<string, OrderRow>;
  prices: Record<string, PriceRow>;
  exposure: Record<string, ExposureRow>;
  /** Positions that were closed: later `pnl_update`s and slow snapshots must not bring them back. */
  closed: string[];
  /** Last durable sequence number of each account on this connection. */
  seq: Record<string, number>;
  /** Counts changes; compared with `touched` of a row. */
  clock: number;
}

/** What the shell should do after an event, besides repainting. */
export interface Outcome {
  notice?: { severity: Severity; title: string; text: string; toast: boolean };
  /** Accounts whose rows must be read again: a gap in the sequence, or the event does not carry all of it. */
  reloadAccount?: string;
  reloadOrders?: string;
  reloadFills?: string;
  liquidated?: { accountName: string; mode: string };
}

type Raw = Record<string, unknown>;

export function emptyBook(): Book {
  return { accounts: {}, positions: {}, orders: {}, prices: {}, exposure: {}, closed: [], seq: {}, clock: 0 };
}

function num(value: unknown, fallback = 0): number {
  const read = typeof value === 'string' && value !== '' ? Number(value) : value;
  return typeof read === 'number' && Number.isFinite(read) ? read : fallback;
}

function numOrNull(value: unknown): number | null {
  return value === null || value === undefined ? null : num(value);
}

function text(value: unknown, fallback = ''): string {
  return typeof value === 'string' ? value : fallback;
}

function sideOf(value: unknown): Side {
  return value === 'SHORT' || value === 'SELL' ? 'SHORT' : 'LONG';
}

const SUMMARY_NUMBERS = [
  'equity',
  'balance',
  'unrealizedPnl',
  'marginUsed',
  'availableMargin',
  'totalExposure',
  'maintenanceMargin',
  'marginRatio',
  'positionCount',
] as const;

/** Takes over the totals that are present; what is missing keeps its value. */
export function applySummary(account: AccountRow, data: Raw): void {
  for (const name of SUMMARY_NUMBERS) {
    if (data[name] !== undefined) account[name] = num(data[name], account[name]);
  }
  if (data.accountLiqPrice !== undefined) {
    account.accountLiqPrice = data.accountLiqPrice === null ? null : num(data.accountLiqPrice);
  }
  if (data.rules && typeof data.rules === 'object') applyRules(account, data.rules as Raw);
}

export function applyRules(account: AccountRow, data: Raw): void {
  for (const name of [
    'maxLeverage',
    'maxNotionalPerTrade',
    'maxTotalExposure',
    'liquidationThreshold',
  ] as const) {
    if (data[name] !== undefined && data[name] !== null) account.rules[name] = num(data[name]);
  }
}

/** Adds or updates an account from a `SubAccount` row; its totals start from the balance. */
export function upsertAccount(book: Book, row: Raw): AccountRow {
  const id = text(row.id) || text(row.subAccountId);
  const balance = num(row.currentBalance ?? row.balance);
  let account = book.accounts[id];
  if (!account) {
    const rules: Rules = {};
    book.accounts[id] = {
      id,
      name: text(row.name, id.slice(0, 8)),
      status: 'ACTIVE',
      liquidationMode: '',
      owed: 0,
      rules,
      warning: '',
      equity: balance,
      balance,
      unrealizedPnl: 0,
      marginUsed: 0,
      availableMargin: balance,
      totalExposure: 0,
      maintenanceMargin: 0,
      marginRatio: 0,
      accountLiqPrice: null,
      positionCount: 0,
    };
    account = book.accounts[id] as AccountRow;
  }
  account.name = text(row.name, account.name);
  account.status = text(row.status, account.status) as AccountStatus;
  account.owed = num(row.owed, account.owed);
  account.liquidationMode = text(row.liquidationMode, account.liquidationMode);
  if (row.riskRule && typeof row.riskRule === 'object') applyRules(account, row.riskRule as Raw);
  if (row.currentBalance !== undefined || row.balance !== undefined) {
    const delta = balance - account.balance;
    account.balance = balance;
    account.equity += delta;
    account.availableMargin += delta;
  }
  return account;
}

/** `durable` is false for ticks: they must not make a row look newer than the snapshot that corrects it. */
function upsertPosition(book: Book, subAccountId: string, id: string, data: Raw, durable = true): void {
  if (!id || book.closed.includes(id)) return;
  if (durable) book.clock += 1;
  const known = book.positions[id];
  if (!known) {
    const entry = num(data.entryPrice);
    book.positions[id] = {
      id,
      subAccountId,
      symbol: text(data.symbol),
      side: sideOf(data.side),
      quantity: num(data.quantity),
      entryPrice: entry,
      markPrice: num(data.markPrice, entry),
      notional: num(data.notional),
      leverage: num(data.leverage, 1),
      margin: num(data.margin),
      liquidationPrice: num(data.liquidationPrice),
      unrealizedPnl: num(data.unrealizedPnl),
      pnlPercent: num(data.pnlPercent),
      openedAt: text(data.openedAt),
      touched: book.clock,
    };
    return;
  }
  if (durable) known.touched = book.clock;
  if (data.side !== undefined) known.side = sideOf(data.side);
  for (const name of [
    'quantity',
    'entryPrice',
    'markPrice',
    'notional',
    'leverage',
    'margin',
    'liquidationPrice',
    'unrealizedPnl',
    'pnlPercent',
  ] as const) {
    if (data[name] !== undefined && data[name] !== null) known[name] = num(data[name], known[name]);
  }
}

function removePosition(book: Book, id: string): void {
  delete book.positions[id];
  book.closed.push(id);
  if (book.closed.length > CLOSED_MAX) book.closed.splice(0, book.closed.length - CLOSED_MAX);
}

/** Replaces an account's open positions by a snapshot that was asked for when `book.clock` was `since`. */
export function reconcilePositions(book: Book, subAccountId: string, rows: Raw[], since: number): void {
  const present = new Set(rows.map((row) => text(row.id)));
  for (const known of Object.values(book.positions)) {
    if (known.subAccountId === subAccountId && !present.has(known.id) && known.touched <= since) {
      delete book.positions[known.id];
    }
  }
  for (const row of rows) {
    const known = book.positions[text(row.id)];
    if (!known || known.touched <= since) upsertPosition(book, subAccountId, text(row.id), row);
  }
}

function upsertOrder(book: Book, subAccountId: string, row: Raw): void {
  const id = text(row.id) || text(row.orderId);
  if (!id) return;
  book.clock += 1;
  const known = book.orders[id];
  book.orders[id] = {
    id,
    subAccountId,
    symbol: text(row.symbol, known?.symbol),
    side: sideOf(row.side ?? known?.side),
    type: text(row.type, known?.type ?? 'LIMIT'),
    price: num(row.price, known?.price),
    quantity: num(row.quantity, known?.quantity),
    filledQuantity: num(row.filledQuantity, known?.filledQuantity),
    reduceOnly: row.reduceOnly === true || known?.reduceOnly === true,
    leverage: num(row.leverage, known?.leverage ?? 0),
    createdAt: text(row.createdAt, known?.createdAt ?? new Date().toISOString()),
    touched: book.clock,
  };
}

/** Replaces an account's working orders by a snapshot that was asked for when `book.clock` was `since`. */
export function reconcileOrders(book: Book, subAccountId: string, rows: Raw[], since: number): void {
  const present = new Set(rows.map((row) => text(row.id)));
  for (const known of Object.values(book.orders)) {
    if (known.subAccountId === subAccountId && !present.has(known.id) && known.touched <= since) {
      delete book.orders[known.id];
    }
  }
  for (const row of rows) upsertOrder(book, subAccountId, row);
}

/** Keeps the holders when an update comes without them, as `exposure_updated` does. */
export function applyExposure(book: Book, data: Raw): void {
  const symbol = text(data.symbol);
  if (!symbol) return;
  const known = book.exposure[symbol];
  const accounts = Array.isArray(data.accounts)
    ? (data.accounts as ExposureHolder[])
    : (known?.accounts ?? []);
  const row: ExposureRow = {
    symbol,
    virtualNet: num(data.virtualNet),
    houseNet: num(data.houseNet),
    exchangeNet: numOrNull(data.exchangeNet),
    difference: numOrNull(data.difference),
    balanced: data.balanced === true,
    watermarkMs: num(data.watermarkMs),
    accounts,
  };
  if (known) Object.assign(known, row);
  else book.exposure[symbol] = row;
}

export function reconcileExposure(book: Book, rows: Raw[]): void {
  const present = new Set(rows.map((row) => text(row.symbol)));
  for (const symbol of Object.keys(book.exposure)) if (!present.has(symbol)) delete book.exposure[symbol];
  for (const row of rows) applyExposure(book, row);
}

export function readFill(row: Raw): FillRow {
  return {
    id: text(row.id),
    subAccountId: text(row.subAccountId),
    symbol: text(row.symbol),
    side: text(row.side),
    type: text(row.type),
    price: num(row.price),
    quantity: num(row.quantity),
    notional: num(row.notional),
    fee: num(row.fee),
    realizedPnl: row.realizedPnl === null ? null : num(row.realizedPnl),
    action: text(row.action),
    originType: text(row.originType),
    status: text(row.status),
    timestamp: text(row.timestamp),
  };
}

/** True when a durable frame was missed. Frames without `seq` are ephemeral and cannot tell. */
function missedFrame(book: Book, subAccountId: string, seq: unknown): boolean {
  if (typeof seq !== 'number' || !subAccountId) return false;
  const last = book.seq[subAccountId];
  book.seq[subAccountId] = Math.max(seq, last ?? seq);
  return last !== undefined && seq > last + 1;
}

function what(data: Raw): string {
  const side = text(data.side);
  return `${side ? `${side} ` : ''}${shortSymbol(text(data.symbol))}`;
}

function amount(data: Raw): string {
  return `${quantity(num(data.quantity))} ${baseOf(text(data.symbol))} at ${price(num(data.price))}`;
}

type Handler = (book: Book, data: Raw, account: AccountRow | undefined) => Outcome;

const HANDLERS: Record<string, Handler> = {
  price_update(book, data) {
    const symbol = text(data.symbol);
    const row = { symbol, mark: num(data.mark), bid: num(data.bid), ask: num(data.ask), tsMs: num(data.ts) };
    const known = book.prices[symbol];
    if (known) Object.assign(known, row);
    else if (symbol) book.prices[symbol] = row;
    return {};
  },

  pnl_update(book, data) {
    // An update for a row that is not known is not a reason to create one: it carries no leverage or notional.
    if (!book.positions[text(data.positionId)]) {
      return book.closed.includes(text(data.positionId)) ? {} : { reloadAccount: text(data.subAccountId) };
    }
    upsertPosition(book, text(data.subAccountId), text(data.positionId), data, false);
    return {};
  },

  margin_update(_book, data, account) {
    const totals = data.update && typeof data.update === 'object' ? (data.update as Raw) : data;
    if (account) {
      applySummary(account, totals);
      if (account.marginRatio < 0.5) account.warning = '';
    }
    return {};
  },

  position_updated(book, data) {
    upsertPosition(book, text(data.subAccountId), text(data.positionId), data);
    return {};
  },

  position_reduced(book, data, account) {
    const row = book.positions[text(data.positionId)];
    if (row) {
      const remaining = num(data.remainingQty, row.quantity);
      const part = row.quantity > 0 ? remaining / row.quantity : 0;
      row.quantity = remaining;
      row.notional *= part;
      row.margin *= part;
    }
    return {
      reloadAccount: text(data.subAccountId),
      reloadFills: text(data.subAccountId),
      notice: {
        severity: 'info',
        toast: true,
        title: `${account?.name ?? ''} reduced ${what(data)}`,
        text:
          `${quantity(num(data.closedQty))} closed, ${quantity(num(data.remainingQty))} left · ` +
          `PnL ${signedMoney(num(data.realizedPnl))}`,
      },
    };
  },

  position_closed(book, data, account) {
    removePosition(book, text(data.positionId));
    const pnl = num(data.realizedPnl);
    const reason = text(data.reason, 'CLOSE');
    return {
      reloadFills: text(data.subAccountId),
      notice: {
        severity: reason.startsWith('LIQUID') ? 'bad' : pnl < 0 ? 'warn' : 'good',
        toast: true,
        title: `${account?.name ?? ''} closed ${what(data)}`,
        text: `Realised ${signedMoney(pnl)} USDT${reason === 'CLOSE' ? '' : ` · ${reason}`}`,
      },
    };
  },

  order_placed(book, data, account) {
    upsertOrder(book, text(data.subAccountId), data);
    return {
      reloadOrders: text(data.subAccountId),
      notice: {
        severity: 'info',
        toast: true,
        title: `${account?.name ?? ''} order ${what(data)}`,
        text: amount(data),
      },
    };
  },

  order_filled(book, data, account) {
    const resting = text(data.orderId) !== '' && book.orders[text(data.orderId)] !== undefined;
    return {
      reloadFills: text(data.subAccountId),
      ...(resting ? { reloadOrders: text(data.subAccountId) } : {}),
      notice: {
        severity: 'good',
        toast: data.suppressToast !== true,
        title: `${account?.name ?? ''} filled ${what(data)}`,
        text: amount(data),
      },
    };
  },

  order_cancelled(book, data, account) {
    delete book.orders[text(data.orderId)];
    const reason = text(data.reason);
    return {
      reloadOrders: text(data.subAccountId),
      notice: {
        severity: 'info',
        toast: true,
        title: `${account?.name ?? ''} cancelled ${what(data)}`,
        text: reason || 'Order cancelled',
      },
    };
  },

  margin_warning(_book, data, account) {
    const message = text(data.message) || `Margin ratio ${ratio(num(data.marginRatio))}`;
    if (account) account.warning = message;
    return {
      notice: {
        severity: 'warn',
        toast: true,
        title: `${account?.name ?? ''} margin warning`,
        text: message,
      },
    };
  },

  adl_triggered(_book, data, account) {
    return {
      reloadAccount: text(data.subAccountId),
      notice: {
        severity: 'bad',
        toast: true,
        title: `${account?.name ?? ''} deleveraged ${shortSymbol(text(data.symbol))}`,
        text: `Tier ${num(data.tier)}, ${ratio(num(data.fraction))} of the position`,
      },
    };
  },

  full_liquidation(_book, data, account) {
    const name = account?.name ?? 'Account';
    const mode = text(data.mode, 'liquidation');
    if (account) account.warning = '';
    return {
      reloadAccount: text(data.subAccountId),
      reloadFills: text(data.subAccountId),
      liquidated: { accountName: name, mode },
      notice: {
        severity: 'bad',
        toast: true,
        title: `${name} liquidated`,
        text: `${mode} at margin ratio ${ratio(num(data.marginRatio))}`,
      },
    };
  },

  account_updated(book, data, account) {
    const before = account?.status;
    const row = upsertAccount(book, { ...data, id: text(data.subAccountId) });
    const changed = before !== undefined && before !== row.status;
    return {
      notice: {
        severity: row.status === 'ACTIVE' ? 'info' : 'bad',
        toast: changed && row.status !== 'LIQUIDATED',
        title: `${row.name} ${row.status}`,
        text: `Balance ${money(row.balance)} USDT`,
      },
    };
  },

  restriction_updated(_book, data, account) {
    const level = levelOf(data.level);
    const scope = text(data.scope) === 'global' ? 'every account' : (account?.name ?? 'the account');
    const source = text(data.source, 'operator');
    return {
      notice: {
        severity: level === 'NONE' ? 'info' : 'bad',
        // One toast for a change that concerns everybody would be one for each account.
        toast: text(data.scope) !== 'global',
        title: `${account?.name ?? 'Account'}: ${LEVEL_TEXTS[level]}`,
        text: [`${source} on ${scope}`, text(data.reason)].filter(Boolean).join(' · '),
      },
    };
  },

  rule_breached(_book, data, account) {
    const rule = text(data.rule).replaceAll('_', ' ');
    const warns = text(data.action) === 'WARN';
    return {
      notice: {
        severity: warns ? 'warn' : 'bad',
        toast: true,
        title: `${account?.name ?? 'Account'} broke a rule`,
        text: `${rule} · ${warns ? 'only a warning' : text(data.action)}`,
      },
    };
  },

  exposure_updated(book, data) {
    applyExposure(book, data);
    return {};
  },

  subscribed(book, data) {
    if (data.seq && typeof data.seq === 'object') {
      for (const [id, seq] of Object.entries(data.seq)) book.seq[id] = num(seq);
    }
    return {};
  },
};

/** Applies one socket frame. Unknown types change nothing. */
export function applyFrame(book: Book, frame: Frame): Outcome {
  // `subscribed` may carry its fields beside `type`, as `connected` does.
  const data = frame.data ?? frame;
  const handler = HANDLERS[frame.type];
  if (!handler) return {};
  const subAccountId = text(data.subAccountId);
  const missed = missedFrame(book, subAccountId, frame.seq);
  const outcome = handler(book, data, book.accounts[subAccountId]);
  if (missed && !outcome.reloadAccount) outcome.reloadAccount = subAccountId;
  return outcome;
}
