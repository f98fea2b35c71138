import { beforeEach, describe, expect, it } from 'vitest';
import {
  applyFrame,
  emptyBook,
  reconcileExposure,
  reconcileOrders,
  reconcilePositions,
  upsertAccount,
} from './book';
import type { Book } from './book';

let book: Book;

function frame(type: string, data: Record<string, unknown>, seq?: number) {
  return applyFrame(book, seq === undefined ? { type, data } : { type, data, seq });
}

const opened = {
  subAccountId: 'a',
  positionId: 'p1',
  symbol: 'BTC/USDT:USDT',
  side: 'LONG',
  entryPrice: 100,
  quantity: 2,
  notional: 200,
  leverage: 10,
  margin: 20,
  liquidationPrice: 91,
};
const ticked = {
  subAccountId: 'a',
  positionId: 'p1',
  symbol: 'BTC/USDT:USDT',
  side: 'LONG',
  entryPrice: 100,
  markPrice: 103,
  quantity: 2,
  unrealizedPnl: 6,
  liquidationPrice: 91,
  margin: 20,
  pnlPercent: 30,
};

beforeEach(() => {
  book = emptyBook();
  upsertAccount(book, { id: 'a', name: 'Alpha', status: 'ACTIVE', currentBalance: 1000 });
});

describe('positions', () => {
  it('appear by position_updated and move by pnl_update, in place', () => {
    frame('position_updated', opened);
    const row = book.positions.p1;
    frame('pnl_update', ticked);
    expect(book.positions.p1).toBe(row);
    expect(row).toMatchObject({ markPrice: 103, unrealizedPnl: 6, leverage: 10, notional: 200 });
  });

  it('stay closed: a late pnl_update, update or snapshot does not bring them back', () => {
    frame('position_updated', opened);
    const since = book.clock;
    frame('position_closed', {
      subAccountId: 'a',
      positionId: 'p1',
      symbol: 'BTC/USDT:USDT',
      realizedPnl: 6,
    });
    expect(frame('pnl_update', ticked)).toEqual({});
    frame('position_updated', opened);
    reconcilePositions(book, 'a', [{ ...opened, id: 'p1' }], since);
    expect(book.positions).toEqual({});
  });

  it('that are unknown are asked for instead of being made up from a tick', () => {
    expect(frame('pnl_update', ticked).reloadAccount).toBe('a');
    expect(book.positions).toEqual({});
  });

  it('opened while a snapshot was on its way survive it; vanished ones do not', () => {
    frame('position_updated', opened);
    const since = book.clock;
    frame('position_updated', { ...opened, positionId: 'p2' });
    reconcilePositions(book, 'a', [], since);
    expect(Object.keys(book.positions)).toEqual(['p2']);
  });

  it('are corrected by a snapshot even while they tick', () => {
    frame('position_updated', opened);
    const since = book.clock;
    frame('pnl_update', ticked);
    reconcilePositions(book, 'a', [{ ...opened, id: 'p1', notional: 150, leverage: 5 }], since);
    expect(book.positions.p1).toMatchObject({ notional: 150, leverage: 5 });
    reconcilePositions(book, 'a', [], book.clock);
    expect(book.positions).toEqual({});
  });

  it('of another account are left alone by a snapshot', () => {
    frame('position_updated', opened);
    reconcilePositions(book, 'b', [], book.clock);
    expect(Object.keys(book.positions)).toEqual(['p1']);
  });

  it('shrink by position_reduced', () => {
    frame('position_updated', opened);
    const outcome = frame('position_reduced', {
      subAccountId: 'a',
      positionId: 'p1',
      symbol: 'BTC/USDT:USDT',
      remainingQty: 0.5,
      closedQty: 1.5,
      realizedPnl: 3,
    });
    expect(book.positions.p1).toMatchObject({ quantity: 0.5, notional: 50, margin: 5 });
    expect(outcome.reloadAccount).toBe('a');
  });
});

describe('accounts', () => {
  it('take totals flat or nested, and keep what is not sent', () => {
    frame('margin_update', { subAccountId: 'a', equity: 1010, marginRatio: 0.25, accountLiqPrice: null });
    frame('margin_update', { subAccountId: 'a', update: { unrealizedPnl: 10 }, rules: {} });
    expect(book.accounts.a).toMatchObject({
      equity: 1010,
      marginRatio: 0.25,
      unrealizedPnl: 10,
      balance: 1000,
    });
  });

  it('ignore what is not a finite number', () => {
    frame('margin_update', { subAccountId: 'a', equity: 'NaN', availableMargin: null });
    expect(book.accounts.a).toMatchObject({ equity: 1000, availableMargin: 1000 });
  });

  it('follow status and balance, and say so when the status changes', () => {
    const outcome = frame('account_updated', {
      subAccountId: 'a',
      name: 'Alpha',
      status: 'FROZEN',
      balance: 900,
    });
    expect(book.accounts.a).toMatchObject({ status: 'FROZEN', balance: 900, equity: 900 });
    expect(outcome.notice).toMatchObject({ severity: 'bad', toast: true });
  });

  it('say what restricts trading, once for a change that concerns everybody', () => {
    const own = { subAccountId: 'a', level: 'HALT', scope: 'account', source: 'rule:daily_loss', reason: 'x' };
    expect(frame('restriction_updated', own).notice).toMatchObject({
      severity: 'bad',
      toast: true,
      title: 'Alpha: Halted',
      text: 'rule:daily_loss on Alpha · x',
    });
    const all = { ...own, level: 'NONE', scope: 'global', source: 'operator', reason: '' };
    expect(frame('restriction_updated', all).notice).toMatchObject({
      severity: 'info',
      toast: false,
      title: 'Alpha: Free',
      text: 'operator on every account',
    });
  });

  it('name a broken rule and what it does', () => {
    const broken = { subAccountId: 'a', rule: 'daily_loss', action: 'LOCK', evidence: {} };
    expect(frame('rule_breached', broken).notice).toMatchObject({ severity: 'bad', text: 'daily loss · LOCK' });
    const warned = frame('rule_breached', { ...broken, action: 'WARN' }).notice;
    expect(warned).toMatchObject({ severity: 'warn', text: 'daily loss · only a warning' });
  });

  it('raise a banner when liquidated', () => {
    const outcome = frame('full_liquidation', {
      subAccountId: 'a',
      marginRatio: 0.93,
      mode: 'INSTANT_CLOSE',
    });
    expect(outcome.liquidated).toEqual({ accountName: 'Alpha', mode: 'INSTANT_CLOSE' });
    expect(outcome.reloadAccount).toBe('a');
  });

  it('lose the margin warning once the ratio is low again', () => {
    frame('margin_warning', { subAccountId: 'a', marginRatio: 0.8, message: 'Margin is low' });
    expect(book.accounts.a?.warning).toBe('Margin is low');
    frame('margin_update', { subAccountId: 'a', marginRatio: 0.2 });
    expect(book.accounts.a?.warning).toBe('');
  });
});

describe('orders', () => {
  const placed = {
    subAccountId: 'a',
    orderId: 'o1',
    symbol: 'BTC/USDT:USDT',
    side: 'SHORT',
    price: 110,
    quantity: 1,
  };

  it('rest until cancelled', () => {
    frame('order_placed', placed);
    expect(book.orders.o1).toMatchObject({ side: 'SHORT', price: 110 });
    frame('order_cancelled', {
      subAccountId: 'a',
      orderId: 'o1',
      symbol: 'BTC/USDT:USDT',
      reason: 'EXPIRED',
    });
    expect(book.orders).toEqual({});
  });

  it('are read again after a fill, which may be partial', () => {
    frame('order_placed', placed);
    expect(frame('order_filled', placed).reloadOrders).toBe('a');
    expect(book.orders.o1).toBeDefined();
    reconcileOrders(book, 'a', [], book.clock);
    expect(book.orders).toEqual({});
  });

  it('filled silently by the ticket make no toast', () => {
    expect(frame('order_filled', { ...placed, suppressToast: true }).notice?.toast).toBe(false);
  });
});

describe('sequence', () => {
  it('asks for the account when a durable frame is missing, not for a repeated or ephemeral one', () => {
    frame('subscribed', { subAccountIds: ['a'], seq: { a: 7 } });
    expect(frame('position_updated', opened, 8).reloadAccount).toBeUndefined();
    expect(frame('position_updated', opened, 8).reloadAccount).toBeUndefined();
    expect(frame('pnl_update', ticked).reloadAccount).toBeUndefined();
    expect(frame('position_updated', opened, 10).reloadAccount).toBe('a');
    expect(book.seq.a).toBe(10);
  });

  it('ignores unknown frames', () => {
    expect(frame('something_new', { subAccountId: 'a' })).toEqual({});
  });
});

describe('exposure', () => {
  const row = {
    symbol: 'BTC/USDT:USDT',
    virtualNet: 1,
    houseNet: 0,
    exchangeNet: 1,
    difference: 0,
    balanced: true,
    watermarkMs: 5,
    accounts: [{ subAccountId: 'a', name: 'Alpha', side: 'LONG', quantity: 1 }],
  };

  it('keeps the holders when an event comes without them, and forgets symbols that are gone', () => {
    reconcileExposure(book, [row]);
    const { accounts, ...event } = row;
    frame('exposure_updated', { ...event, exchangeNet: 0.5, difference: -0.5, balanced: false });
    expect(book.exposure[row.symbol]).toMatchObject({ balanced: false, difference: -0.5, accounts });
    reconcileExposure(book, []);
    expect(book.exposure).toEqual({});
  });

  it('claims nothing while the exchange is not known', () => {
    reconcileExposure(book, [{ ...row, exchangeNet: null, difference: null, balanced: false }]);
    expect(book.exposure[row.symbol]).toMatchObject({ exchangeNet: null, difference: null, balanced: false });
  });

  it('is balanced only when the server says so', () => {
    frame('exposure_updated', { ...row, balanced: 'yes' });
    expect(book.exposure[row.symbol]?.balanced).toBe(false);
  });
});
