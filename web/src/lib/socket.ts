// The browser socket: connects, subscribes, reconnects with back-off, and hands over frames in batches.

import type { ConnectionState, Frame } from './types';

const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 5_000;
/** Painting more often than 20 times a second costs main-thread time and shows nothing. */
const BATCH_MS = 50;
/** Frames kept for one batch; beyond it the page is behind and re-reads everything instead. */
const BATCH_MAX = 5_000;

export interface SocketEvents {
  onFrames(frames: Frame[]): void;
  onState(state: ConnectionState): void;
  /** A connection is open: subscribe and, when `again`, read the state anew. */
  onOpen(again: boolean): void;
  onUnauthorized(): void;
}

export class LiveSocket {
  #socket: WebSocket | null = null;
  #queue: Frame[] = [];
  #retryMs = RETRY_FIRST_MS;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #batchTimer: ReturnType<typeof setTimeout> | undefined;
  #opened = false;
  #stopped = false;
  readonly #events: SocketEvents;

  constructor(events: SocketEvents) {
    this.#events = events;
  }

  start(): void {
    this.#stopped = false;
    this.#events.onState('connecting');
    this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#batchTimer);
    this.#queue = [];
    this.#socket?.close();
    this.#socket = null;
  }

  send(frame: Record<string, unknown>): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  #connect(): void {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    this.#socket = socket;
    socket.onopen = () => {
      this.#retryMs = RETRY_FIRST_MS;
      this.#events.onState('live');
      this.#events.onOpen(this.#opened);
      this.#opened = true;
    };
    socket.onmessage = (message) => this.#receive(String(message.data));
    socket.onclose = (event) => {
      if (this.#stopped || this.#socket !== socket) return;
      if (event.code === 4401) {
        this.#events.onUnauthorized();
        return;
      }
      this.#events.onState('reconnecting');
      this.#retryTimer = setTimeout(() => this.#connect(), this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_LAST_MS);
    };
  }

  #receive(text: string): void {
    let frame: Frame;
    try {
      frame = JSON.parse(text) as Frame;
    } catch {
      return; // Not JSON: not one of our frames.
    }
    if (this.#queue.length >= BATCH_MAX) {
      // Too far behind to apply one by one: start over from a snapshot.
      this.#queue = [];
      this.#socket?.close();
      return;
    }
    this.#queue.push(frame);
    this.#batchTimer ??= setTimeout(() => this.#flush(), BATCH_MS);
  }

  #flush(): void {
    this.#batchTimer = undefined;
    const frames = this.#queue;
    this.#queue = [];
    this.#events.onFrames(frames);
  }
}
