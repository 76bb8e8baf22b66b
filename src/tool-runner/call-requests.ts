import type { CallId } from "../protocol/ids.ts";
import type { BoundaryRequest } from "./boundary/request-record.ts";

/** More requests of one call are counted but not listed in its result; each is in the audit. */
const LISTED = 1000;

/** Sorts the boundary's records by call, so that a call's result can say what it asked for. */
export class CallRequests {
  readonly #open = new Map<CallId, { count: number; masked: number; listed: BoundaryRequest[] }>();

  /** Begins to collect for a call; disposing ends it. */
  collect(call: CallId): RequestsOfCall {
    const record = { count: 0, masked: 0, listed: [] };
    this.#open.set(call, record);
    return Object.assign(record, { [Symbol.dispose]: () => void this.#open.delete(call) });
  }

  /** Takes a record; one of a call that is over, or of the agent itself, is only for the audit. */
  take(record: BoundaryRequest): void {
    const open = record.call === null ? undefined : this.#open.get(record.call);
    if (open === undefined) return;
    open.count += 1;
    open.masked += record.masked;
    if (open.listed.length < LISTED) open.listed.push(record);
  }
}

export interface RequestsOfCall extends Disposable {
  readonly count: number;
  readonly masked: number;
  readonly listed: readonly BoundaryRequest[];
}
