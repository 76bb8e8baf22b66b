/** Bounds of one call's boundary, unless the caller says otherwise. Documented in docs/security.md. */
export interface CallLimits {
  /** connections from the sandbox at once; further ones are closed when they arrive */
  connections: number;
  /** requests in the whole call, refused ones included; further ones get 429 */
  requests: number;
  /** body bytes of one request and of one response */
  bytesUp: number;
  bytesDown: number;
  /** body bytes of all requests, and of all answers, together */
  allBytesUp: number;
  allBytesDown: number;
  /** how long an upstream may be silent */
  silenceMs: number;
}

export const CALL_LIMITS: CallLimits = {
  connections: 64,
  requests: 1000,
  bytesUp: 1024 ** 3,
  bytesDown: 4 * 1024 ** 3,
  allBytesUp: 4 * 1024 ** 3,
  allBytesDown: 16 * 1024 ** 3,
  silenceMs: 120_000,
};

/** Header bytes of one request; 431 beyond. */
export const MAX_HEADER_BYTES = 16 * 1024;
/** From the connection, or the first byte of a request, to the end of its headers. */
export const HEADERS_MS = 20_000;
/** A kept-alive connection between two requests. */
export const IDLE_MS = 60_000;
/** From CONNECT to the end of the TLS handshake with the tool. */
export const HANDSHAKE_MS = 10_000;
/** A request with its body. */
export const REQUEST_MS = 15 * 60_000;
/** How long the end of a call waits for the last records of its requests. */
export const REVOKE_MS = 1000;
