import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { PlatformError } from "../kit/platform-error.ts";
import type { Log } from "../kit/log.ts";
import type { AgentToken } from "./agent-token.ts";
import { sendError } from "./json-body.ts";

/** What answers behind the listener. Each of them may trust that the token was checked. */
export interface AgentRoutes {
  mcp(request: IncomingMessage, response: ServerResponse): Promise<void>;
  tools(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** null where there is no model gateway */
  model: ((request: IncomingMessage, response: ServerResponse) => void) | null;
  /** null unless zone A's network is `public` */
  proxy: {
    connect(request: IncomingMessage, socket: Duplex, head: Buffer): void;
    request(request: IncomingMessage, response: ServerResponse): void;
  } | null;
}

export interface AgentHttpOptions {
  socketPath: string;
  /** permissions of the socket, default 0600 */
  mode?: number;
  token: AgentToken;
  routes: AgentRoutes;
  log: Log;
}

const MAX_CONNECTIONS = 512;
const LOCAL_HOST = /^(?:127\.0\.0\.1|localhost)(?::\d{1,5})?$/;

/** The one door between zone A and the tool-runner: a unix socket, and the run's agent token on every request. */
export class AgentHttp implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #options: AgentHttpOptions;

  private constructor(options: AgentHttpOptions) {
    this.#options = options;
    this.#server = createServer({
      maxHeaderSize: 32 * 1024,
      headersTimeout: 10_000,
      // Uploads to a model or a public host may be long; their own rooms have idle limits.
      requestTimeout: 0,
      keepAliveTimeout: 75_000,
      requireHostHeader: true,
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("request", (request, response) => this.#serve(request, response));
    this.#server.on("connect", (request, socket, head) => this.#connect(request, socket, head));
    this.#server.on("upgrade", (_request, socket) => refuseRaw(socket, "400 Bad Request"));
    this.#server.on("clientError", (_error, socket) => refuseRaw(socket, "400 Bad Request"));
  }

  /** Listens on the socket path. A socket that an earlier process left there is replaced. */
  static async listen(options: AgentHttpOptions): Promise<AgentHttp> {
    const { socketPath } = options;
    if (lstatSync(socketPath, { throwIfNoEntry: false })?.isSocket() === true)
      unlinkSync(socketPath);
    const http = new AgentHttp(options);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    http.#server.once("error", reject);
    http.#server.listen(socketPath, () => resolve());
    await promise;
    chmodSync(socketPath, options.mode ?? 0o600);
    return http;
  }

  /** Ends the listener and every connection, tunnels too. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const socket of this.#sockets) socket.destroy();
    await promise;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    this.#route(request, response).catch((error: unknown) => {
      if (!(error instanceof PlatformError) && !request.destroyed)
        this.#options.log.error({ err: error }, "request failed");
      sendError(response, 500, "internal", "The tool-runner could not answer; its log says why");
    });
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { token, routes } = this.#options;
    const url = request.url ?? "";
    if (!url.startsWith("/")) return this.#forward(request, response);
    // A page in a browser of zone A must not reach us under a name of its own.
    if (!LOCAL_HOST.test(request.headers.host ?? "") || !isLocalOrigin(request.headers.origin))
      return sendError(
        response,
        403,
        "wrong_host",
        "Expected Host and Origin to be 127.0.0.1 or localhost",
      );
    const path = url.split("?", 1)[0] ?? "";
    const isModel = path === "/model" || path.startsWith("/model/");
    if (!(isModel ? token.isModelKey(request.headers) : token.isBearer(request.headers))) {
      response.setHeader("www-authenticate", "Bearer");
      return sendError(
        response,
        401,
        "unauthorized",
        "Expected the run's agent token",
        "send Authorization: Bearer $AGENTKUBE_AGENT_TOKEN",
      );
    }
    if (isModel && routes.model !== null) return routes.model(request, response);
    if (path === "/mcp" || path === "/v1/mcp") return routes.mcp(request, response);
    if (path === "/v1/tools" || path.startsWith("/v1/tools/"))
      return routes.tools(request, response);
    return sendError(
      response,
      404,
      "not_found",
      "Expected /mcp, /v1/mcp, /v1/tools or /model/PROVIDER/…",
    );
  }

  /** Absolute-form requests: what a program sends to its HTTP_PROXY for plain http. */
  #forward(request: IncomingMessage, response: ServerResponse): void {
    const { proxy } = this.#options.routes;
    if (proxy === null)
      return sendError(
        response,
        403,
        "no_network",
        "This run's network does not reach public hosts",
        "set network: public in the Agent",
      );
    if (!this.#options.token.isProxyUser(request.headers)) {
      response.setHeader("proxy-authenticate", 'Basic realm="agentkube"');
      return sendError(
        response,
        407,
        "unauthorized",
        "Expected the run's agent token as proxy password",
      );
    }
    proxy.request(request, response);
  }

  #connect(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    const { proxy } = this.#options.routes;
    if (proxy === null) return refuseRaw(socket, "403 Forbidden");
    if (!this.#options.token.isProxyUser(request.headers))
      return refuseRaw(
        socket,
        "407 Proxy Authentication Required",
        'Proxy-Authenticate: Basic realm="agentkube"\r\n',
      );
    proxy.connect(request, socket, head);
  }
}

function isLocalOrigin(origin: string | undefined): boolean {
  return origin === undefined || (origin.startsWith("http://") && LOCAL_HOST.test(origin.slice(7)));
}

function refuseRaw(socket: Duplex, status: string, headers = ""): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  socket.end(`HTTP/1.1 ${status}\r\n${headers}Content-Length: 0\r\nConnection: close\r\n\r\n`, () =>
    socket.destroy(),
  );
}
