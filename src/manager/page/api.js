// Talks to the manager. The operator token is used once, to get a cookie that scripts cannot read.

/** Thrown for answers that are not good; `status` 0: the manager cannot be reached. */
export class ApiFailure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Takes the operator token out of the URL and its history; null when there is none. */
export function takeToken() {
  const fragment = location.hash;
  const token = /token=([\w-]+)/.exec(fragment)?.[1];
  if (token === undefined) return null;
  const run = /(?:run=|\/runs\/)([a-z0-9-]+)/.exec(fragment)?.[1];
  history.replaceState(null, "", run === undefined ? "#/" : `#/runs/${run}`);
  return token;
}

/** Exchanges the token for a cookie. */
export async function login(token) {
  await call("/v1/login", { method: "POST", headers: { authorization: `Bearer ${token}` } });
}

/** Asks for a JSON document. */
export async function getJson(path, signal) {
  return await (await call(path, { signal })).json();
}

/** Sends a POST, with a JSON document when one is given. */
export async function post(path, value) {
  const body = value === undefined ? undefined : JSON.stringify(value);
  return await (await call(path, { method: "POST", body })).json();
}

/** Sends a DELETE, also while the page is being left. */
export async function remove(path) {
  return await (await call(path, { method: "DELETE", keepalive: true })).json();
}

/** The URL of a WebSocket of this manager. */
export function socketUrl(path) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiFailure(0, "The manager cannot be reached");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new ApiFailure(
    response.status,
    body?.error?.message ?? `The manager answered ${response.status}`,
  );
}
