import type { IncomingMessage, ServerResponse } from "node:http";
import type { Log } from "../../kit/log.ts";
import { compileRedaction, type RedactionTable } from "../../kit/redactor.ts";
import type { RunSpec } from "../../protocol/run-spec.ts";
import type { ModelProvider } from "../../protocol/runtimes.ts";
import { type LentSecret, revokedRefusal } from "./credential-rule.ts";
import { forward } from "./forward.ts";
import { requestHeaders } from "./header-rules.ts";
import {
  isOauthToken,
  OAUTH_BETA,
  type Provider,
  type Route,
  providerOfRun,
  providers,
  upstreamPath,
} from "./model-providers.ts";
import { auditedHost, openUpstream, type Upstream } from "./model-upstream.ts";
import type { ModelBudget } from "./model-budget.ts";
import { openUsageReader, type UsageReader } from "./model-usage.ts";
import { splitOnce } from "./plan-request.ts";
import { Refusal, replyRefused } from "./refusal.ts";
import { type OnRequest, RequestMeter } from "./request-record.ts";

/** A model may think for minutes before its first byte. */
const LIMITS = { bytesUp: 64 * 1024 ** 2, bytesDown: 1024 ** 3, silenceMs: 10 * 60_000 };
const MAX_OPEN = 64;
/** The name under which the audit knows the key. */
const KEY_NAME = "model-key";
/** Whatever the client proved itself with: it was for us, and stays here. */
const CLIENT_PROOF = new Set([
  "authorization",
  "x-api-key",
  "api-key",
  "x-goog-api-key",
  "cookie",
  "proxy-authorization",
]);

/** The key of the model API, read for each request, and what masks it. */
export interface ModelKey {
  lend(): Promise<LentSecret>;
  redaction(): RedactionTable | null;
}

export interface ModelGatewayOptions {
  spec: RunSpec;
  /** the run's key: read anew for every request, or a value that stays; null: the run has none */
  key: ModelKey | Buffer | null;
  log: Log;
  onRequest: OnRequest;
  /** counts what the run's model requests take, and refuses them at its limits */
  budget: ModelBudget;
}

/**
 * The model API as zone A sees it: `/model/PROVIDER/…` with the agent's token becomes the provider's declared paths with the run's
 * key. The caller has checked the token. The key goes to the run's provider or endpoint only, and is masked in every answer.
 */
export function createModelGateway(
  options: ModelGatewayOptions,
): (req: IncomingMessage, res: ServerResponse) => void {
  const { spec, log, budget } = options;
  const source = Buffer.isBuffer(options.key) ? fixedKey(options.key) : options.key;
  const upstreams = new Map<ModelProvider, Upstream>();
  let open = 0;

  const upstreamOf = (provider: Provider): Upstream => {
    const known = upstreams.get(provider.name);
    if (known !== undefined) return known;
    const made = openUpstream(provider, spec);
    upstreams.set(provider.name, made);
    return made;
  };

  const serve = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const [path, query] = splitOnce(req.url ?? "", "?");
    const [, , name = "", ...rest] = path.split("/");
    const inner = `/${rest.join("/")}`;
    const meter = new RequestMeter(
      {
        call: null,
        source: "model",
        method: req.method ?? "",
        host: auditedHost(spec, providerNamed(name)),
        path: inner,
      },
      options.onRequest,
    );
    open += 1;
    let usage: UsageReader | null = null;
    let lent: LentSecret | null = null;
    const count = (isWhole: boolean): void => {
      if (usage === null) return;
      meter.usage = usage.end(isWhole);
      budget.charge(meter);
      usage = null;
    };
    try {
      if (open > MAX_OPEN) throw busy();
      const found = routeOf(req.method ?? "", name, inner);
      if (found === null) {
        answerHello(res);
        meter.status = 200;
        meter.finish("allowed_without_credential");
        return;
      }
      const { provider, route } = found;
      if (source === null) throw noKey();
      lent = await lendKey(source);
      using _lent = cutOff(lent, res);
      const key = textOf(lent.value);
      requireProviderOfRun(spec, key, provider);
      const upstream = upstreamOf(provider);
      const target = upstreamPath(upstream.base, inner) + forwardedQuery(query);
      const headers = modelHeaders(req, upstream, key);
      if (route.answers === true) {
        budget.admit();
        usage = openUsageReader(provider.name);
      }
      meter.credential = KEY_NAME;
      meter.credentialVersion = lent.version;
      await forward({
        req,
        res,
        pool: upstream.pool,
        target,
        headers,
        table: source.redaction(),
        dropCookies: true,
        meter,
        limits: LIMITS,
        ...(usage === null ? {} : { tap: usage }),
      });
      count(true);
      meter.finish("allowed");
    } catch (error) {
      const cause = lent?.revoked.aborted === true ? revokedRefusal(KEY_NAME) : error;
      const refusal = cause instanceof Refusal ? cause : fault();
      if (refusal !== cause) log.error({ err: error }, "model request failed");
      meter.status ??= refusal.status;
      count(false);
      meter.finish(refusal.verdict);
      replyRefused(refusal, req, res, refusedBody(providerNamed(name)?.name, refusal));
    } finally {
      open -= 1;
    }
  };

  return (req, res) => {
    res.on("error", () => res.destroy());
    serve(req, res).catch((err: unknown) => log.error({ err }, "model request failed"));
  };
}

/** The provider whose declared path this is; null for the greeting that is answered here. Throws a `Refusal` for all else. */
function routeOf(
  method: string,
  name: string,
  path: string,
): { provider: Provider; route: Route } | null {
  if (name === "anthropic" && path === "/api/hello" && ["GET", "HEAD"].includes(method))
    return null;
  const provider = providerNamed(name);
  const route = provider?.routes.find((each) => each.method === method && each.path.test(path));
  if (provider !== undefined && route !== undefined) return { provider, route };
  throw new Refusal(
    404,
    "refused_rule",
    "not_a_model_path",
    provider === undefined
      ? `Expected /model/anthropic, /model/openai or /model/google`
      : `The model gateway does not forward ${method.slice(0, 16)} to this path of ${name}`,
  );
}

function providerNamed(name: string): Provider | undefined {
  return Object.hasOwn(providers, name) ? providers[name as ModelProvider] : undefined;
}

function requireProviderOfRun(spec: RunSpec, key: string, provider: Provider): void {
  const own = providerOfRun(spec, key);
  if (own === null || own === provider.name) return;
  throw new Refusal(
    403,
    "refused_host",
    "other_provider",
    `The model key of this run is for ${own}; it is not sent to ${provider.name}`,
    "set spec.model.provider of the Agent",
  );
}

function modelHeaders(req: IncomingMessage, { provider, base }: Upstream, key: string): string[] {
  const presented = presentedToken(req);
  const isOauth = provider.name === "anthropic" && isOauthToken(key);
  const betas = String(req.headers["anthropic-beta"] ?? "");
  const remove = new Set([...CLIENT_PROOF, ...(isOauth ? ["anthropic-beta"] : [])]);
  const headers = requestHeaders(req, {
    authority: base.host,
    hasCredential: true,
    inject: provider.authorize(key),
    isInjected: true,
    scanned: true,
    remove,
    removeValue: (value) => presented !== null && value.includes(presented),
  });
  if (isOauth) {
    const all = new Set([...betas.split(",").map((beta) => beta.trim()), OAUTH_BETA]);
    headers.push("anthropic-beta", [...all].filter((beta) => beta !== "").join(","));
  }
  return headers;
}

/** The agent token as this request showed it, to take it out wherever else it stands. */
function presentedToken(req: IncomingMessage): string | null {
  const bearer = /^Bearer +(\S+)$/i.exec(req.headers.authorization ?? "")?.[1];
  const token = bearer ?? req.headers["x-api-key"] ?? req.headers["x-goog-api-key"];
  return typeof token === "string" && token.length >= 16 ? token : null;
}

/** Google's clients put their key, which is our token, into the query. */
function forwardedQuery(query: string): string {
  const kept = query.split("&").filter((field) => field !== "" && !/^key(?:=|$)/i.test(field));
  const text = kept.join("&");
  if (/[^\x21-\x7e]|#/.test(text)) {
    throw new Refusal(
      400,
      "refused_ambiguous",
      "ambiguous_request",
      "Expected a query of printable ASCII",
    );
  }
  return text === "" ? "" : `?${text}`;
}

/** A refusal in the provider's own words, since that is what its CLI shows to a person: the fix stands in the message. */
function refusedBody(provider: ModelProvider | undefined, refusal: Refusal): string {
  const { code, status, fix } = refusal;
  const message = fix === undefined ? refusal.message : `${refusal.message}; ${fix}`;
  const error =
    provider === "google"
      ? { code: status, message, status: GOOGLE_STATUS[status] ?? "UNKNOWN", reason: code }
      : { type: ERROR_TYPE[status] ?? "api_error", code, message, param: null, fix };
  return `${JSON.stringify({ type: "error", error })}\n`;
}

const ERROR_TYPE: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
};
const GOOGLE_STATUS: Readonly<Record<number, string>> = {
  400: "INVALID_ARGUMENT",
  403: "PERMISSION_DENIED",
  404: "NOT_FOUND",
  429: "RESOURCE_EXHAUSTED",
  502: "UNAVAILABLE",
  503: "UNAVAILABLE",
  504: "DEADLINE_EXCEEDED",
};

/** A key that stays as it is. */
function fixedKey(value: Buffer): ModelKey {
  const table = compileRedaction([Buffer.from(textOf(value), "latin1")]);
  const revoked = new AbortController().signal;
  return {
    lend: () => Promise.resolve({ value, version: "1.1", revoked, [Symbol.dispose]: () => {} }),
    redaction: () => table,
  };
}

/** A header's value; a newline at the end, as files have it, is no part of the key. */
function textOf(value: Buffer): string {
  return value.toString("latin1").replace(/[\r\n]+$/, "");
}

async function lendKey(source: ModelKey): Promise<LentSecret> {
  try {
    return await source.lend();
  } catch {
    throw new Refusal(
      502,
      "refused_credential",
      "credential_unusable",
      "The model key has no value now; the request was not sent",
      "see that its file or command gives the whole key, then try again",
    );
  }
}

/** Gives the key back when the request is over, and cuts the answer off when the key is taken back before. */
function cutOff(lent: LentSecret, res: ServerResponse): Disposable {
  const cut = (): void => void res.destroy();
  lent.revoked.addEventListener("abort", cut, { once: true });
  return {
    [Symbol.dispose]() {
      lent.revoked.removeEventListener("abort", cut);
      lent[Symbol.dispose]();
    },
  };
}

function answerHello(res: ServerResponse): void {
  res.writeHead(200, { "content-type": "application/json", "content-length": 2 }).end("{}");
}

function noKey(): Refusal {
  return new Refusal(
    503,
    "refused_rule",
    "no_model_key",
    "This run has no model key",
    "give it one: agentkube run --secret agent-token/token=env:VARIABLE, or spec.agentToken in the Agent",
  );
}

function busy(): Refusal {
  return new Refusal(
    429,
    "refused_rule",
    "too_many_requests",
    `${MAX_OPEN} model requests are open already`,
  );
}

function fault(): Refusal {
  return new Refusal(
    502,
    "upstream_failed",
    "gateway_fault",
    "The request failed in the model gateway; see its log",
  );
}
