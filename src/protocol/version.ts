import * as z from "zod";

/** The version of every wire and of the run spec. Raised when a reader of the old form would misread the new one. */
export const PROTOCOL = 1;

/** The protocol field of a first message. Any integer parses, so that the refusal can name both versions. */
export const ProtocolVersion = z.int().describe("protocol version of the sender");

/** Thrown when a peer or a file speaks another protocol version than this build. */
export class ProtocolMismatchError extends Error {
  readonly code = "protocol_mismatch";

  constructor(what: string, theirs: number) {
    super(
      `Cannot speak with ${what}: it speaks protocol ${theirs}, this build speaks protocol ${PROTOCOL}; install the same version of agentkube on both sides`,
    );
  }
}

/** Throws `ProtocolMismatchError` unless `theirs` is the version of this build. */
export function requireProtocol(what: string, theirs: number): void {
  if (theirs !== PROTOCOL) throw new ProtocolMismatchError(what, theirs);
}
