// The page's one reactive object: session, book, selection, connection, notices, and what changes them.

import * as api from './api';
import { ApiError, call, get, messageOf } from './api';
import { applyFrame, applyRules, applySummary, emptyBook, readFill, reconcileExposure } from './book';
import { reconcileOrders, reconcilePositions, upsertAccount } from './book';
import { digitsOfStep } from './format';
import { readKill } from './restrictions';
import { LiveSocket } from './socket';
import { randomKey } from './ticket';
import type { ConnectionState, FillRow, Frame, KillLevel, KillState, Notice } from './types';
import type { Severity, SymbolInfo, SymbolRow, User } from './types';

type Raw = Record<string, unknown>;
export type Tab = 'positions' | 'orders' | 'fills' | 'exposure' | 'log';

const TOKEN_KEY = 'pms_token';
const USER_KEY = 'pms_user';
const LOG_MAX = 200;
const TOASTS_MAX = 4;
const TOAST_MS = 6_000;
const EXPOSURE_EVERY_MS = 5_000;
/** Without a frame for this long while positions are open, the page reads the state itself. */
const SILENCE_MS = 10_000;
const FILLS_LIMIT = 50;
/** An account is read again at most this often for events that do not carry everything. */
const RELOAD_MS = 1_000;
/** Accounts whose details are read one by one; of more only the selected one, the rest comes by socket. */
const DETAIL_ACCOUNTS_MAX = 60;
const PARALLEL_READS = 6;

class Desk {
  user = $state<User | null>(null);
  loginMessage = $state('');
  book = $state(emptyBook());
  loaded = $state(false);
  accountId = $state('');
  symbol = $state('');
  symbols = $state<SymbolRow[]>([]);
  infos = $state<Record<string, SymbolInfo>>({});
  tab = $state<Tab>('positions');
  fills = $state<FillRow[]>([]);
  fillsTotal = $state(0);
  exposureAllowed = $state(false);
  kill = $state<KillState>(readKill({}));
  connection = $state<ConnectionState>('connecting');
  connectionSinceMs = $state(Date.now());
  nowMs = $state(Date.now());
  toasts = $state<Notice[]>([]);
  log = $state<Notice[]>([]);
  banners = $state<Notice[]>([]);
  /** Grows at every reconnect; the chart reads its history again. */
  connectionCount = $state(0);
  closing = $state<Record<string, boolean>>({});
  latencyMs = $state<number | null>(null);

  #noticeId = 0;
  #socket: LiveSocket | null = null;
  #timers: ReturnType<typeof setInterval>[] = [];
  #pending = new Map<string, ReturnType<typeof setTimeout>>();
  #lastFrameMs = Date.now();

  get account() {
    return this.book.accounts[this.accountId];
  }

  get isAdmin(): boolean {
    return this.user?.role === 'ADMIN';
  }

  accountName(id: string): string {
    return this.book.accounts[id]?.name ?? id.slice(0, 8);
  }

  priceDigits(symbol: string): number | undefined {
    return this.infos[symbol]?.priceDigits;
  }

  // --- session -------------------------------------------------------------------------------------------

  resume(): void {
    api.setUnauthorizedHandler(() => this.logout('Your session has ended. Log in again.'));
    const token = sessionStorage.getItem(TOKEN_KEY);
    const stored = sessionStorage.getItem(USER_KEY);
    if (!token || !stored) return;
    try {
      this.#begin(token, JSON.parse(stored) as User);
    } catch {
      this.logout('');
    }
  }

  async login(username: string, password: string): Promise<void> {
    api.setToken('');
    const { body } = await call<{ token: string; user: User }>('POST', '/api/auth/login', {
      username,
      password,
    });
    sessionStorage.setItem(TOKEN_KEY, body.token);
    sessionStorage.setItem(USER_KEY, JSON.stringify(body.user));
    this.#begin(body.token, body.user);
  }

  logout(message: string): void {
    this.#socket?.stop();
    this.#socket = null;
    for (const timer of this.#timers) clearInterval(timer);
    for (const timer of this.#pending.values()) clearTimeout(timer);
    this.#timers = [];
    this.#pending.clear();
    sessionStorage.removeItem(TOKEN_KEY);
    sessionStorage.removeItem(USER_KEY);
    api.setToken('');
    Object.assign(this, {
      user: null,
      loginMessage: message,
      book: emptyBook(),
      loaded: false,
      accountId: '',
      symbol: '',
      fills: [],
      toasts: [],
      log: [],
      banners: [],
      closing: {},
      exposureAllowed: false,
      kill: readKill({}),
      tab: 'positions',
      latencyMs: null,
    });
  }

  #begin(token: string, user: User): void {
    api.setToken(token);
    this.user = user;
    this.loginMessage = '';
    this.exposureAllowed = user.role === 'ADMIN';
    this.#socket = new LiveSocket({
      onFrames: (frames) => this.#receive(frames),
      onState: (state) => {
        if (state === this.connection) return;
        this.connection = state;
        this.connectionSinceMs = Date.now();
      },
      onOpen: (again) => {
        this.book.seq = {};
        this.#lastFrameMs = Date.now();
        this.#subscribe(token);
        if (again) {
          this.connectionCount += 1;
          void this.loadAll();
        }
      },
      onUnauthorized: () => this.logout('Your session has ended. Log in again.'),
    });
    this.#token = token;
    void this.#loadSymbols();
    void this.loadAll();
    void this.loadKill();
    this.#socket.start();
    this.#timers = [
      setInterval(() => this.#tick(), 1_000),
      setInterval(() => void this.loadExposure(), EXPOSURE_EVERY_MS),
      setInterval(() => void this.loadKill(), EXPOSURE_EVERY_MS),
    ];
  }

  #token = '';
  #subscribedIds = '';

  #subscribe(token: string): void {
    const ids = Object.keys(this.book.accounts);
    this.#subscribedIds = ids.join();
    // Without accounts too: the token has to arrive in time, or the server closes with 4401.
    this.#socket?.send({ type: 'subscribe', subAccountIds: ids, token });
    if (this.symbol) this.#socket?.send({ type: 'watch', symbols: [this.symbol] });
  }

  #tick(): void {
    this.nowMs = Date.now();
    const silent = this.nowMs - this.#lastFrameMs > SILENCE_MS;
    if (this.connection === 'live' && silent && Object.keys(this.book.positions).length > 0) {
      this.#lastFrameMs = this.nowMs;
      void this.loadAll();
    }
  }

  // --- reading -------------------------------------------------------------------------------------------

  async #loadSymbols(): Promise<void> {
    try {
      const rows = await get<SymbolRow[]>('/api/trade/symbols/all');
      this.symbols = rows.sort((one, other) => one.symbol.localeCompare(other.symbol));
      const first = rows.find((row) => row.symbol === 'BTC/USDT:USDT') ?? rows[0];
      if (!this.symbol && first) this.selectSymbol(first.symbol);
    } catch (error) {
      if (!this.user) return;
      this.note('bad', 'Symbols could not be read', messageOf(error));
      this.#later('symbols', 3_000, () => this.#loadSymbols());
    }
  }

  async loadAll(): Promise<void> {
    try {
      const rows = await get<Raw[]>('/api/sub-accounts');
      const present = new Set(rows.map((row) => String(row.id)));
      for (const id of Object.keys(this.book.accounts)) if (!present.has(id)) delete this.book.accounts[id];
      // The server lists newest first; a desk reads its accounts in the order they were made.
      for (const row of rows.reverse()) upsertAccount(this.book, row);
      if (!this.book.accounts[this.accountId]) this.accountId = Object.keys(this.book.accounts)[0] ?? '';
      this.loaded = true;
      if (Object.keys(this.book.accounts).join() !== this.#subscribedIds) this.#subscribe(this.#token);
      const ids = rows.length <= DETAIL_ACCOUNTS_MAX ? rows.map((row) => String(row.id)) : [this.accountId];
      await this.#each(ids, (id) => this.loadAccount(id));
      await Promise.all([this.loadFills(), this.loadExposure()]);
    } catch (error) {
      if (!this.user) return;
      this.note('bad', 'Accounts could not be read', messageOf(error));
      this.#later('all', 3_000, () => this.loadAll());
    }
  }

  async #each(ids: string[], work: (id: string) => Promise<void>): Promise<void> {
    const waiting = [...ids];
    const worker = async (): Promise<void> => {
      for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) await work(id);
    };
    await Promise.all(Array.from({ length: PARALLEL_READS }, worker));
  }

  async loadAccount(id: string): Promise<void> {
    const since = this.book.clock;
    try {
      const [live] = await Promise.all([
        get<{ account: Raw; positions: Raw[]; summary: Raw; rules: Raw | null }>(
          `/api/trade/positions/${id}`,
        ),
        this.loadOrders(id),
      ]);
      const account = upsertAccount(this.book, { ...live.account, id });
      applySummary(account, live.summary);
      if (live.rules) applyRules(account, live.rules);
      reconcilePositions(this.book, id, live.positions, since);
    } catch (error) {
      if (this.user) this.note('warn', `${this.accountName(id)} could not be read`, messageOf(error), false);
    }
  }

  async loadOrders(id: string): Promise<void> {
    const since = this.book.clock;
    reconcileOrders(this.book, id, await get<Raw[]>(`/api/trade/orders/${id}`), since);
  }

  async loadFills(): Promise<void> {
    const id = this.accountId;
    if (!id) return;
    const page = await get<{ trades: Raw[]; total: number }>(`/api/trade/history/${id}?limit=${FILLS_LIMIT}`);
    if (id !== this.accountId) return;
    this.fills = page.trades.map(readFill);
    this.fillsTotal = page.total;
  }

  async loadExposure(): Promise<void> {
    if (!this.exposureAllowed || !this.user) return;
    try {
      reconcileExposure(this.book, await get<Raw[]>('/api/exposure'));
    } catch (error) {
      if (error instanceof ApiError && error.status === 403) {
        this.exposureAllowed = false;
        if (this.tab === 'exposure') this.tab = 'positions';
      }
      // Any other failure: the last figures stay with their watermark age, the next round asks again.
    }
  }

  async loadKill(): Promise<void> {
    if (this.user?.role !== 'ADMIN') return;
    try {
      this.kill = readKill(await get<Raw>('/api/admin/kill-switch'));
    } catch {
      // The last state stays; the next round asks again.
    }
  }

  /** Restricts one account, or all (''): the answer is in force; what it cancels and closes follows. */
  async setKill(level: KillLevel, accountId: string, reason: string, source: string): Promise<void> {
    const path = `/api/admin/kill-switch${accountId ? `/${accountId}` : ''}`;
    const key = { 'Idempotency-Key': randomKey() };
    const { body } = await call<Raw>('POST', path, { level, reason, source }, key);
    this.kill = readKill(body);
  }

  async #loadInfo(symbol: string): Promise<void> {
    if (this.infos[symbol]) return;
    try {
      const row = await get<Raw>(`/api/trade/symbol-info/${encodeURIComponent(symbol)}`);
      const digits = (step: unknown, precision: unknown, fallback: number): number => {
        if (typeof step === 'number' && step > 0) return digitsOfStep(step);
        if (typeof precision !== 'number') return fallback;
        return Number.isInteger(precision) ? precision : digitsOfStep(precision);
      };
      this.infos[symbol] = {
        symbol,
        priceDigits: digits(row.tickSize, row.pricePrecision, 2),
        quantityDigits: digits(row.stepSize, row.qtyPrecision, 3),
        minNotional: Number(row.minNotional ?? 5),
        minQuantity: Number(row.minQty ?? 0),
      };
    } catch {
      // Without it prices are shown by size; the server still rounds and checks.
    }
  }

  // --- live ----------------------------------------------------------------------------------------------

  #receive(frames: Frame[]): void {
    this.#lastFrameMs = Date.now();
    for (const frame of frames) {
      if (frame.type === 'error') {
        this.note('bad', 'Live connection', String(frame.message ?? frame.data?.message ?? 'refused'));
        continue;
      }
      if (frame.type === 'restriction_updated') this.#later('kill', 100, () => this.loadKill());
      const outcome = applyFrame(this.book, frame);
      const { notice, liquidated, reloadAccount, reloadOrders, reloadFills } = outcome;
      if (notice) this.note(notice.severity, notice.title.trim(), notice.text, notice.toast);
      if (liquidated) {
        this.banners.push(this.#notice('bad', `${liquidated.accountName} was liquidated`, liquidated.mode));
        if (this.banners.length > TOASTS_MAX) this.banners.shift();
      }
      if (reloadAccount)
        this.#later(`account ${reloadAccount}`, RELOAD_MS, () => this.loadAccount(reloadAccount));
      if (reloadOrders) this.#later(`orders ${reloadOrders}`, 250, () => this.loadOrders(reloadOrders));
      if (reloadFills && reloadFills === this.accountId) this.#later('fills', 250, () => this.loadFills());
    }
  }

  /** Runs once after the delay however often it is asked for meanwhile. */
  #later(key: string, delayMs: number, work: () => Promise<void>): void {
    if (this.#pending.has(key)) return;
    const run = (): void => {
      this.#pending.delete(key);
      work().catch((error: unknown) => {
        if (this.user) this.note('warn', 'Could not refresh', messageOf(error), false);
      });
    };
    this.#pending.set(key, setTimeout(run, delayMs));
  }

  #notice(severity: Severity, title: string, text: string): Notice {
    this.#noticeId += 1;
    return { id: this.#noticeId, atMs: Date.now(), severity, title, text };
  }

  note(severity: Severity, title: string, text: string, toast = true): void {
    const notice = this.#notice(severity, title, text);
    this.log.unshift(notice);
    if (this.log.length > LOG_MAX) this.log.length = LOG_MAX;
    if (!toast) return;
    this.toasts.push(notice);
    if (this.toasts.length > TOASTS_MAX) this.toasts.shift();
    setTimeout(() => this.dismiss(notice.id), severity === 'bad' ? 2 * TOAST_MS : TOAST_MS);
  }

  dismiss(id: number): void {
    this.toasts = this.toasts.filter((toast) => toast.id !== id);
    this.banners = this.banners.filter((banner) => banner.id !== id);
  }

  // --- choosing ------------------------------------------------------------------------------------------

  selectAccount(id: string): void {
    if (id === this.accountId) return;
    this.accountId = id;
    this.fills = [];
    this.#later('fills', 0, () => this.loadFills());
  }

  stepAccount(by: number): void {
    const ids = Object.keys(this.book.accounts);
    const next = ids[(ids.indexOf(this.accountId) + by + ids.length) % ids.length];
    if (next) this.selectAccount(next);
  }

  selectSymbol(symbol: string): void {
    if (!symbol || symbol === this.symbol) return;
    this.symbol = symbol;
    this.#socket?.send({ type: 'watch', symbols: [symbol] });
    void this.#loadInfo(symbol);
  }

  // --- acting --------------------------------------------------------------------------------------------

  async closePosition(id: string): Promise<void> {
    const row = this.book.positions[id];
    if (!row || this.closing[id]) return;
    this.closing[id] = true;
    const accountId = row.subAccountId;
    try {
      const answer = await call<Raw>(
        'POST',
        `/api/trade/close/${id}`,
        {},
        { 'Idempotency-Key': randomKey() },
      );
      this.latencyMs = answer.serverLatencyMs ?? this.latencyMs;
    } catch (error) {
      this.note('bad', `Close ${this.accountName(accountId)} ${row.symbol} failed`, messageOf(error));
    } finally {
      delete this.closing[id];
    }
    // The socket says it first; when it is down the page still has to show the truth.
    this.#later(`account ${accountId}`, 300, () => this.loadAccount(accountId));
  }

  async cancelOrder(id: string): Promise<void> {
    const row = this.book.orders[id];
    if (!row || this.closing[id]) return;
    this.closing[id] = true;
    try {
      await call<Raw>('DELETE', `/api/trade/orders/${id}`);
    } catch (error) {
      this.note('bad', `Cancel ${row.symbol} failed`, messageOf(error));
    } finally {
      delete this.closing[id];
    }
    this.#later(`orders ${row.subAccountId}`, 250, () => this.loadOrders(row.subAccountId));
  }

  async createAccount(name: string, initialBalance: number): Promise<void> {
    const { body } = await call<Raw>('POST', '/api/sub-accounts', { name, initialBalance });
    await this.loadAll();
    this.selectAccount(String(body.id));
    this.note('good', `${name} created`, `Balance ${initialBalance} USDT`);
  }

  async deposit(id: string, addBalance: number): Promise<void> {
    await call<Raw>('PATCH', `/api/sub-accounts/${id}`, { addBalance });
    await this.loadAccount(id);
    this.note('good', `${this.accountName(id)} deposit`, `${addBalance} USDT added`);
  }
}

export const desk = new Desk();
