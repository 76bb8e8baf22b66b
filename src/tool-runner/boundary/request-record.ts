import type { AuditRecord, ModelUsage } from "../../protocol/audit.ts";

/** What is written down of one request; the tool-runner adds run and time. */
export type BoundaryRequest = Omit<
  Extract<AuditRecord, { type: "request" }>,
  "type" | "time" | "run" | "epoch" | "prev"
>;

export type OnRequest = (record: BoundaryRequest) => void;

type Verdict = BoundaryRequest["verdict"];

/** Counts one request while it lives and reports it exactly once, when it ends. */
export class RequestMeter {
  credential: string | null = null;
  bytesUp = 0;
  bytesDown = 0;
  masked = 0;
  /** the status its sender saw */
  status: number | null = null;
  /** of the credential's value */
  credentialVersion: string | undefined;
  /** the path of the rule that let it pass */
  template: string | undefined;
  /** what a model's answer took */
  usage: ModelUsage | undefined;
  readonly #about: Pick<BoundaryRequest, "call" | "source" | "method" | "host" | "path">;
  readonly #onRequest: OnRequest;
  readonly #startedAt = performance.now();
  #isFinished = false;

  constructor(
    about: Pick<BoundaryRequest, "call" | "source" | "method" | "host" | "path">,
    onRequest: OnRequest,
  ) {
    this.#about = about;
    this.#onRequest = onRequest;
  }

  finish(verdict: Verdict): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    const { method, host, path } = this.#about;
    this.#onRequest({
      ...this.#about,
      method: method.slice(0, 32),
      host: host.slice(0, 300),
      path: (path.split("?", 1)[0] ?? "").slice(0, 4096),
      credential: this.credential,
      ...(this.credentialVersion === undefined
        ? {}
        : { credentialVersion: this.credentialVersion }),
      ...(this.template === undefined ? {} : { template: this.template.slice(0, 2048) }),
      status: this.status,
      bytesUp: this.bytesUp,
      bytesDown: this.bytesDown,
      durationMs: Math.round(performance.now() - this.#startedAt),
      masked: this.masked,
      ...(this.usage === undefined ? {} : { usage: this.usage }),
      verdict,
    });
  }
}
