// The npm package binance (REST client, WebSocket client, WebSocket API client) trades on the simulator.
// Its packages are found by NODE_PATH.
const assert = require('node:assert/strict');
const { setTimeout: sleep } = require('node:timers/promises');
const { USDMClient, WebsocketClient, WebsocketAPIClient } = require('binance');

const { PMS_SIMULATOR_HTTP: HTTP, PMS_SIMULATOR_WS: WS, PMS_API_KEY: KEY, PMS_API_SECRET: SECRET } = process.env;
const SYMBOL = 'BTCUSDT';
const QUANTITY = 0.02;
const STEP_MS = 20000;
let failed = 0;

class Stop extends Error {}

// One step of the flow; what follows builds on it.
async function step(mode, name, body) {
  const started = Date.now();
  let note = '', trace = '';
  let timer;
  const late = new Promise((_, refuse) => {
    timer = setTimeout(() => refuse(new Error(`not done within ${STEP_MS} ms`)), STEP_MS);
  });
  try {
    note = String((await Promise.race([body(), late])) ?? '');
  } catch (error) {
    failed += 1;
    trace = error.stack ?? JSON.stringify(error);
  }
  clearTimeout(timer);
  const seconds = (Date.now() - started) / 1000;
  const row = { kind: 'step', mode, name, ok: trace === '', note, seconds, traceback: trace };
  process.stdout.write(`STEP ${JSON.stringify(row)}\n`);
  if (trace) throw new Stop(name);
}

async function until(found, what, ms = 8000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = found();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await sleep(20);
  }
}

const same = (left, right) => Math.abs(Number(left) - Number(right)) < 1e-9;
const sum = (rows, of) => rows.reduce((total, row) => total + of(row), 0);
const rounded = (value) => Math.round(value * 1e8) / 1e8;

const options = { api_key: KEY, api_secret: SECRET, baseUrl: HTTP };
const rest = new USDMClient(options);
const quiet = { trace() {}, info() {}, error(...args) { console.error(...args); } };
const sockets = new WebsocketClient({ api_key: KEY, api_secret: SECRET, wsUrl: WS, restOptions: options }, quiet);
const socketApi = new WebsocketAPIClient(
  { api_key: KEY, api_secret: SECRET, wsUrl: WS, authPrivateConnectionsOnConnect: false,
    authPrivateRequestsIndividually: true, attachEventListeners: false }, quiet);
const market = [];
const events = [];
sockets.on('message', (data) => {
  const user = ['ORDER_TRADE_UPDATE', 'ACCOUNT_UPDATE', 'ALGO_UPDATE'].includes(data.e ?? data.data?.e);
  (user ? events : market).push(data.data ?? data);
});
sockets.on('exception', (data) => console.error('exception', data));

const orderEvent = (id, wanted) => until(
  () => events.find((e) => e.e === 'ORDER_TRADE_UPDATE' && e.o.i === id
    && Object.entries(wanted).every(([key, value]) => e.o[key] === value || ('qpz'.includes(key) && same(e.o[key], value)))),
  `event of order ${id} with ${JSON.stringify(wanted)}`);
const positionEvent = (side, amount) => until(
  () => events.findLast((e) => e.e === 'ACCOUNT_UPDATE' && e.a.P.some((p) => p.ps === side && same(p.pa, amount))),
  `account event of ${side} ${amount}`);

async function streams() {
  await step('', 'load the markets', async () => {
    const info = await rest.getExchangeInfo();
    assert.equal(info.symbols.find((s) => s.symbol === SYMBOL).status, 'TRADING');
    return `${info.symbols.length} markets`;
  });
  const lower = SYMBOL.toLowerCase();
  const kinds = {
    'stream quotes': ['usdmPublic', `${lower}@bookTicker`, 'bookTicker', (e) => Number(e.b) < Number(e.a)],
    'stream the mark price': ['usdmMarket', `${lower}@markPrice@1s`, 'markPriceUpdate', (e) => Number(e.p) > 0],
    'stream the order book': ['usdmPublic', `${lower}@depth10@100ms`, 'depthUpdate',
      (e) => Number(e.b[0][0]) < Number(e.a[0][0])],
    'stream trades': ['usdmMarket', `${lower}@aggTrade`, 'aggTrade', (e) => Number(e.q) > 0],
    'stream candles': ['usdmMarket', `${lower}@kline_1m`, 'kline', (e) => Number(e.k.l) <= Number(e.k.h)],
  };
  for (const [name, [key, topic, type, check]] of Object.entries(kinds)) {
    await step('', name, async () => {
      await sockets.subscribe(topic, key);
      assert.ok(check(await until(() => market.find((e) => e.e === type), type)));
      await sockets.unsubscribe(topic, key);
    });
  }
}

async function orderLife(mode, positionSide) {
  const low = Number(((await rest.getSymbolPriceTicker({ symbol: SYMBOL })).price * 0.9).toFixed(1));
  const limit = { symbol: SYMBOL, side: 'BUY', type: 'LIMIT', timeInForce: 'GTC', positionSide, quantity: QUANTITY };
  let placed;
  await step(mode, 'place a limit order, with its event', async () => {
    placed = await rest.submitNewOrder({ ...limit, price: low });
    assert.equal(placed.status, 'NEW');
    const event = await orderEvent(placed.orderId, { x: 'NEW', X: 'NEW', p: low, q: QUANTITY });
    assert.equal(event.o.c, placed.clientOrderId);
    return `${placed.orderId} at ${low}`;
  });
  const order = { symbol: SYMBOL, orderId: placed.orderId };
  await step(mode, 'query it', async () => {
    assert.ok(same((await rest.getOrder(order)).price, low));
    assert.deepEqual((await rest.getAllOpenOrders({ symbol: SYMBOL })).map((o) => o.orderId), [placed.orderId]);
  });
  await step(mode, 'amend it, with its event', async () => {
    await rest.modifyOrder({ ...order, side: 'BUY', quantity: QUANTITY * 2, price: low - 100 });
    await orderEvent(placed.orderId, { x: 'AMENDMENT', p: low - 100, q: QUANTITY * 2 });
  });
  await step(mode, 'cancel it, with its event', async () => {
    assert.equal((await rest.cancelOrder(order)).status, 'CANCELED');
    await orderEvent(placed.orderId, { x: 'CANCELED' });
    await assert.rejects(rest.cancelOrder(order), (error) => error.code === -2011);
  });
  let ids;
  await step(mode, 'place a batch, one element refused', async () => {
    const good = [0, 10, 20].map((n) => ({ ...limit, price: Number((low - n).toFixed(1)) }));
    const answers = await rest.submitMultipleOrders([...good, { ...limit, quantity: 0.001, price: 1000 }]);
    assert.deepEqual(answers.map((a) => a.status), ['NEW', 'NEW', 'NEW', undefined]);
    assert.ok([-4164, -4016, -4024].includes(answers[3].code));
    ids = answers.slice(0, 3).map((a) => a.orderId);
  });
  await step(mode, 'amend the batch', async () => {
    const answers = await rest.modifyMultipleOrders(ids.map((orderId, n) => (
      { symbol: SYMBOL, orderId, side: 'BUY', quantity: String(QUANTITY), price: (low - 200 - n).toFixed(1) })));
    answers.forEach((answer, n) => assert.ok(same(answer.price, low - 200 - n), JSON.stringify(answer)));
  });
  await step(mode, 'cancel the batch', async () => {
    const answers = await rest.cancelMultipleOrders({ symbol: SYMBOL, orderIdList: [...ids, 999999999999] });
    assert.deepEqual(answers.map((a) => a.status ?? a.code), ['CANCELED', 'CANCELED', 'CANCELED', -2011]);
  });
  await step(mode, 'cancel all', async () => {
    for (let n = 0; n < 3; n += 1) await rest.submitNewOrder({ ...limit, price: Number((low - n).toFixed(1)) });
    await rest.cancelAllOpenOrders({ symbol: SYMBOL });
    assert.deepEqual(await rest.getAllOpenOrders({ symbol: SYMBOL }), []);
  });
  await step(mode, "dead man's switch", async () => {
    const last = await rest.submitNewOrder({ ...limit, price: low });
    await rest.setCancelOrdersOnTimeout({ symbol: SYMBOL, countdownTime: 300 });
    await orderEvent(last.orderId, { X: 'CANCELED' });
  });
  await step(mode, 'conditional orders: place, query, cancel', async () => {
    const common = { algoType: 'CONDITIONAL', symbol: SYMBOL, side: 'BUY', positionSide, quantity: QUANTITY };
    const high = (low / 0.9 * 1.05).toFixed(1);
    const made = [
      await rest.submitNewAlgoOrder({ ...common, type: 'STOP_MARKET', triggerPrice: high }),
      await rest.submitNewAlgoOrder({ ...common, type: 'TRAILING_STOP_MARKET', callbackRate: 1.5 }),
    ];
    const open = await rest.getOpenAlgoOrders({ symbol: SYMBOL });
    assert.deepEqual(open.map((o) => o.algoId).sort(), made.map((o) => o.algoId).sort());
    for (const { algoId } of made) {
      await until(() => events.find((e) => e.e === 'ALGO_UPDATE' && e.o.aid === algoId && e.o.X === 'NEW'), 'ALGO_UPDATE');
      await rest.cancelAlgoOrder({ algoId });
    }
    assert.deepEqual(await rest.getOpenAlgoOrders({ symbol: SYMBOL }), []);
  });
  await step(mode, 'trade over the WebSocket API', async () => {
    const made = (await socketApi.submitNewFuturesOrder('usdm', { ...limit, price: low, timestamp: Date.now() })).result;
    await orderEvent(made.orderId, { x: 'NEW', p: low });
    const which = { symbol: SYMBOL, orderId: made.orderId };
    await socketApi.modifyFuturesOrder('usdm', { ...which, side: 'BUY', quantity: QUANTITY, price: low - 50, timestamp: Date.now() });
    await orderEvent(made.orderId, { x: 'AMENDMENT', p: low - 50 });
    assert.equal((await socketApi.getFuturesOrderStatus('usdm', { ...which, timestamp: Date.now() })).result.status, 'NEW');
    assert.equal((await socketApi.cancelFuturesOrder('usdm', { ...which, timestamp: Date.now() })).result.status, 'CANCELED');
  });
}

const wallet = async () => Number((await rest.getBalance()).find((b) => b.asset === 'USDT').balance);
const held = async () => Object.fromEntries((await rest.getPositions({ symbol: SYMBOL }))
  .filter((p) => Number(p.positionAmt) !== 0).map((p) => [p.positionSide, Number(p.positionAmt)]));

async function roundTrip(mode, hedged) {
  assert.deepEqual(await held(), {});
  const before = await wallet();
  const known = new Set((await rest.getAccountTrades({ symbol: SYMBOL, limit: 1000 })).map((t) => t.id));
  const legs = hedged ? [['LONG', 'BUY'], ['SHORT', 'SELL']] : [['BOTH', 'BUY']];
  const order = { symbol: SYMBOL, type: 'MARKET', quantity: QUANTITY, newOrderRespType: 'RESULT' };
  for (const [positionSide, side] of legs) {
    await step(mode, `open a ${positionSide === 'SHORT' ? 'short' : 'long'}, with its events`, async () => {
      const done = await rest.submitNewOrder({ ...order, side, positionSide });
      assert.equal(done.status, 'FILLED');
      assert.ok(same(done.executedQty, QUANTITY));
      const event = await orderEvent(done.orderId, { x: 'TRADE', X: 'FILLED', z: QUANTITY });
      assert.ok(Number(event.o.n) > 0);
      await positionEvent(positionSide, side === 'BUY' ? QUANTITY : -QUANTITY);
      return `${QUANTITY} at ${event.o.ap}`;
    });
  }
  await step(mode, 'the position is there', async () => {
    assert.deepEqual(await held(), hedged ? { LONG: QUANTITY, SHORT: -QUANTITY } : { BOTH: QUANTITY });
  });
  for (const [positionSide, side] of legs) {
    await step(mode, `close the ${positionSide === 'SHORT' ? 'short' : 'long'}`, async () => {
      const extra = hedged ? {} : { reduceOnly: 'true' };
      const done = await rest.submitNewOrder({ ...order, ...extra, side: side === 'BUY' ? 'SELL' : 'BUY', positionSide });
      assert.equal(done.status, 'FILLED');
      await positionEvent(positionSide, 0);
    });
  }
  await step(mode, 'flat, and the balance moved by PnL less fees', async () => {
    assert.deepEqual(await held(), {});
    const rows = (await rest.getAccountTrades({ symbol: SYMBOL, limit: 1000 })).filter((t) => !known.has(t.id));
    assert.ok(same(sum(rows, (t) => Number(t.qty)), 2 * legs.length * QUANTITY));
    const change = rounded(sum(rows, (t) => Number(t.realizedPnl) - Number(t.commission)));
    assert.equal(rounded(await wallet() - before), change);
    assert.notEqual(change, 0);
    return `wallet ${change}`;
  });
}

async function mode(hedged) {
  const name = hedged ? 'hedge' : 'one-way';
  await step(name, 'set the position mode', async () => {
    if ((await rest.getCurrentPositionMode()).dualSidePosition !== hedged) {
      await rest.setPositionMode({ dualSidePosition: String(hedged) });
    }
    assert.equal((await rest.getCurrentPositionMode()).dualSidePosition, hedged);
  });
  await orderLife(name, hedged ? 'LONG' : 'BOTH');
  await roundTrip(name, hedged);
}

async function main() {
  for (const part of [streams, async () => {
    await step('', 'open the user stream', async () => { await sockets.subscribeUsdFuturesUserDataStream(); });
    for (const hedged of [false, true]) await mode(hedged);
  }]) {
    try {
      await part();
    } catch (error) {
      if (!(error instanceof Stop)) throw error;
    }
  }
}

main().then(() => process.exit(failed ? 1 : 0), (error) => {
  console.error(error);
  process.exit(2);
});
