// The shapes that the gateway sends: REST rows, WebSocket frames and the page's own rows made from them.

export type Side = 'LONG' | 'SHORT';
export type OrderType = 'MARKET' | 'LIMIT';
export type AccountStatus = 'ACTIVE' | 'FROZEN' | 'LIQUIDATED';
export type ConnectionState = 'connecting' | 'live' | 'reconnecting';

export interface User {
  id: string;
  username: string;
  role: 'ADMIN' | 'USER';
  status?: string;
}

export interface Rules {
  maxLeverage?: number;
  maxNotionalPerTrade?: number;
  maxTotalExposure?: number;
  liquidationThreshold?: number;
}

/** Account totals: `Summary` of the REST API and `margin_update` of the socket. */
export interface Summary {
  equity: number;
  balance: number;
  unrealizedPnl: number;
  marginUsed: number;
  availableMargin: number;
  totalExposure: number;
  maintenanceMargin: number;
  /** Maintenance or used margin over equity as a fraction; 999 when equity is not positive. */
  marginRatio: number;
  accountLiqPrice: number | null;
  positionCount: number;
}

export interface AccountRow extends Summary {
  id: string;
  name: string;
  status: AccountStatus;
  liquidationMode: string;
  /** Debt left by a loss beyond the balance; later credits repay it first. */
  owed: number;
  rules: Rules;
  /** Text of the last margin warning, empty when none is in force. */
  warning: string;
}

export interface PositionRow {
  id: string;
  subAccountId: string;
  symbol: string;
  side: Side;
  quantity: number;
  entryPrice: number;
  markPrice: number;
  notional: number;
  leverage: number;
  margin: number;
  liquidationPrice: number;
  unrealizedPnl: number;
  pnlPercent: number;
  openedAt: string;
  /** Value of `Book.clock` at the last change; a slower snapshot does not overwrite newer rows. */
  touched: number;
}

export interface OrderRow {
  id: string;
  subAccountId: string;
  symbol: string;
  side: Side;
  type: string;
  price: number;
  quantity: number;
  filledQuantity: number;
  reduceOnly: boolean;
  leverage: number;
  createdAt: string;
  touched: number;
}

export interface FillRow {
  id: string;
  subAccountId: string;
  symbol: string;
  side: string;
  type: string;
  price: number;
  quantity: number;
  notional: number;
  fee: number;
  realizedPnl: number | null;
  action: string;
  originType: string;
  status: string;
  timestamp: string;
}

export interface PriceRow {
  symbol: string;
  mark: number;
  bid: number;
  ask: number;
  tsMs: number;
}

export interface ExposureHolder {
  subAccountId: string;
  name: string;
  side: Side;
  quantity: number;
}

/** Exposure identity of one symbol: virtual + house = exchange, signed base quantities. */
export interface ExposureRow {
  symbol: string;
  virtualNet: number;
  houseNet: number;
  /** Null while the exchange's position is not known: then nothing is claimed. */
  exchangeNet: number | null;
  difference: number | null;
  balanced: boolean;
  watermarkMs: number;
  accounts: ExposureHolder[];
}

export interface SymbolRow {
  symbol: string;
  base: string;
  id: string;
}

export interface SymbolInfo {
  symbol: string;
  priceDigits: number;
  quantityDigits: number;
  minNotional: number;
  minQuantity: number;
}

export interface Frame {
  type: string;
  data?: Record<string, unknown>;
  timestamp?: number;
  seq?: number;
  message?: string;
  [extra: string]: unknown;
}

export type Severity = 'info' | 'good' | 'warn' | 'bad';

export interface Notice {
  id: number;
  atMs: number;
  severity: Severity;
  title: string;
  text: string;
}

export type RestrictionLevel = 'NONE' | 'BLOCK_ENTRIES' | 'REDUCE_ONLY' | 'HALT' | 'FLATTEN';
export type KillLevel = 'reduce-only' | 'halt' | 'flatten' | 'release';

export interface RestrictionRow {
  /** Null: every account. */
  subAccountId: string | null;
  source: string;
  level: RestrictionLevel;
  reason: string;
}

export interface KillState {
  level: RestrictionLevel;
  entries: RestrictionRow[];
  /** Accounts that still have orders or positions which their restriction forbids. */
  working: string[];
}
