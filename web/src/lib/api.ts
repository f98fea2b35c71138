// HTTP client of the gateway: one function that adds the token, a deadline and readable errors.

const DEADLINE_MS = 15_000;

/** A refusal or failure as the gateway states it: `error`, and a list of `{code, message}`. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly details: { code: string; message: string }[] = [],
  ) {
    super(message);
  }

  /** No answer arrived: whether the request took effect is not known. */
  get unanswered(): boolean {
    return this.status === 0;
  }

  get lines(): string[] {
    return this.details.length > 0 ? this.details.map((detail) => detail.message) : [this.message];
  }
}

export interface Answer<T> {
  body: T;
  /** Time the server spent, ms; null when it did not say. */
  serverLatencyMs: number | null;
}

let token = '';
let onUnauthorized: () => void = () => undefined;

export function setToken(value: string): void {
  token = value;
}

export function setUnauthorizedHandler(handler: () => void): void {
  onUnauthorized = handler;
}

function detailsOf(body: Record<string, unknown>): { code: string; message: string }[] {
  const list = Array.isArray(body.errors) ? body.errors : Array.isArray(body.reasons) ? body.reasons : [];
  return list.map((item: unknown) => {
    if (typeof item === 'string') return { code: '', message: item };
    const { code, message } = item as { code?: unknown; message?: unknown };
    return { code: String(code ?? ''), message: String(message ?? code ?? '') };
  });
}

async function errorOf(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  const nested = body.error as { message?: unknown } | string | undefined;
  const said = typeof nested === 'string' ? nested : nested?.message;
  return new ApiError(
    response.status,
    String(said ?? `The server answered ${response.status}.`),
    detailsOf(body),
  );
}

/** Sends one request. Throws ApiError on refusal; with status 0 on no answer in 15 s or a broken body. */
export async function call<T>(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer<T>> {
  const sentWith = token;
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...(sentWith ? { Authorization: `Bearer ${sentWith}` } : {}),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(DEADLINE_MS),
      cache: 'no-store',
    });
  } catch (cause) {
    const late = cause instanceof DOMException && cause.name === 'TimeoutError';
    throw new ApiError(0, late ? 'No answer within 15 seconds.' : 'The server cannot be reached.');
  }
  if (!response.ok) {
    const error = await errorOf(response);
    // A 401 that answers an older login must not end the present one.
    if (error.status === 401 && sentWith && sentWith === token) onUnauthorized();
    throw error;
  }
  const read = (await response.json().catch(() => {
    throw new ApiError(0, 'The answer could not be read.');
  })) as T;
  const stated =
    response.headers.get('X-Server-Latency-Ms') ??
    response.headers.get('X-Server-Latency') ??
    (read as { serverLatencyMs?: number } | null)?.serverLatencyMs;
  const latency = stated === null || stated === undefined ? NaN : parseFloat(String(stated));
  return { body: read, serverLatencyMs: Number.isFinite(latency) ? latency : null };
}

export async function get<T>(path: string): Promise<T> {
  return (await call<T>('GET', path)).body;
}

/** Text for a person, whatever was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof ApiError) return error.lines.join(' · ');
  return error instanceof Error ? error.message : String(error);
}
