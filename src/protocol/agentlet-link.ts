import * as z from "zod";
import { GrantId } from "./ids.ts";
import { RunEnd } from "./outcome.ts";
import { ProtocolVersion } from "./version.ts";

const Size = { cols: z.int().min(1).max(1000), rows: z.int().min(1).max(1000) };
const AttachId = z.string().regex(/^[0-9a-f]{16}$/);

export const AgentState = z.enum([
  "starting",
  "busy",
  "idle",
  "permission",
  "question",
  "blocked",
  "exited",
  "unknown",
]);
export type AgentState = z.infer<typeof AgentState>;

/** Which channel saw a state, the surest first. All but `process` come from inside zone A and are claims. */
export const StateChannel = z.enum([
  "process",
  "event",
  "hook",
  "transcript",
  "title",
  "screen",
  "output",
]);
export type StateChannel = z.infer<typeof StateChannel>;

/** Characters of what an ask is about. Long: what is cut off is approved unseen. */
export const MAX_ASK_DETAIL = 16_384;

/** What the CLI asks of a person. The CLI's own words: a claim, shown and never believed. */
export const Ask = z.strictObject({
  id: z.int().positive().describe("number of this ask in the run; an answer names it"),
  kind: z.enum(["permission", "question"]),
  tool: z.string().max(256).nullable().describe("name of the CLI's tool that needs permission"),
  text: z.string().max(4096).describe("the question"),
  detail: z.string().max(MAX_ASK_DETAIL).describe("what it is about: a command, a path, a change"),
  options: z
    .array(z.strictObject({ key: z.string().max(64), label: z.string().max(1024) }))
    .max(32),
});
export type Ask = z.infer<typeof Ask>;

const RequestId = z.string().regex(/^[0-9a-f]{16}$/);

/** `done`: another channel or the screen has shown it. `unconfirmed`: the keys were typed and nothing has shown it. */
export const ActPhase = z.enum(["accepted", "done", "unconfirmed", "refused"]);
export type ActPhase = z.infer<typeof ActPhase>;

/** How an ask is answered: yes for this once, no, or one of its options. */
export const Choice = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("allow") }),
  z.strictObject({ kind: z.literal("deny") }),
  z.strictObject({ kind: z.literal("option"), key: z.string().min(1).max(64) }),
]);
export type Choice = z.infer<typeof Choice>;

/** Larger prompts belong into a file of the workspace. */
export const MAX_PROMPT_BYTES = 256 * 1024;

/** A prompt's text, measured as it is typed: in bytes of UTF-8. */
export const PromptText = z
  .string()
  .min(1)
  .refine((text) => Buffer.byteLength(text) <= MAX_PROMPT_BYTES, {
    error: ({ input }) =>
      `Expected a prompt of 1 to ${MAX_PROMPT_BYTES} bytes, got ${Buffer.byteLength(String(input))}`,
  });

/** An event of a run, kept by the manager in `events.jsonl`. */
export const AgentletEvent = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("state"),
    time: z.iso.datetime(),
    state: AgentState,
    channel: StateChannel,
    evidence: z.string().max(1024),
    outputOffset: z.int().nonnegative().describe("bytes of PTY output before this"),
    ask: Ask.optional().describe("with permission and question: what is asked"),
  }),
  z.strictObject({
    type: z.literal("heartbeat"),
    time: z.iso.datetime(),
    outputOffset: z.int().nonnegative(),
    lastOutputMsAgo: z.int().nonnegative().nullable(),
    cpuMs: z.int().nonnegative().describe("CPU time of zone A's processes so far"),
    memoryBytes: z.int().nonnegative(),
    processes: z.int().nonnegative(),
    cpuPercent: z.number().nonnegative().optional().describe("of one core, since the last one"),
    lastSignalMsAgo: z
      .int()
      .nonnegative()
      .nullable()
      .optional()
      .describe("since a hook, an event or a transcript said something; null: never"),
    lastTranscriptMsAgo: z
      .int()
      .nonnegative()
      .nullable()
      .optional()
      .describe(
        "since the CLI's transcript was seen to grow, or to say something that a driver asks for, such as an interruption; null: never",
      ),
    transcriptBytes: z
      .int()
      .nonnegative()
      .nullable()
      .optional()
      .describe("size of the files in which the CLI keeps its session; null: none are known"),
    tool: z
      .strictObject({ name: z.string().max(256), ageMs: z.int().nonnegative() })
      .nullable()
      .optional()
      .describe("the tool that the CLI says it is using"),
  }),
  z.strictObject({
    type: z.literal("notice"),
    time: z.iso.datetime(),
    message: z.string().max(4096),
  }),
  z
    .strictObject({
      type: z.literal("screen"),
      time: z.iso.datetime(),
      text: z.string().max(200_000),
    })
    .describe("the screen when the CLI is blocked by a dialog"),
  z
    .strictObject({
      type: z.literal("shell"),
      time: z.iso.datetime(),
      grant_id: GrantId,
      change: z.enum(["opened", "refused", "closed"]),
      detail: z.string().max(1024),
    })
    .describe("a second terminal in zone A, recorded as a session of its own"),
  z
    .strictObject({
      type: z.literal("input"),
      time: z.iso.datetime(),
      hands: z.enum(["person", "automation"]),
      window: AttachId.optional().describe("that a person types at"),
      outputOffset: z.int().nonnegative(),
    })
    .describe("the keyboard changed hands: who types from here on"),
  z
    .strictObject({
      type: z.literal("act"),
      time: z.iso.datetime(),
      act: z.enum(["prompt", "answer", "interrupt"]),
      request: RequestId.nullable().describe("of the command; null: a policy of the Agent acted"),
      by: z.string().max(256),
      ask: z.int().positive().nullable().describe("the ask that was answered"),
      phase: ActPhase,
      message: z.string().max(4096).describe("what was done, or why not, and what showed it"),
      outputOffset: z.int().nonnegative(),
    })
    .describe("what was done to the CLI from afar, and whether it was seen to arrive"),
  z.strictObject({ type: z.literal("ended"), time: z.iso.datetime(), end: RunEnd }),
]);
export type AgentletEvent = z.infer<typeof AgentletEvent>;

/**
 * Agentlet to manager, WebSocket `/v1/runs/{run}/agentlet`, Bearer agentlet token. Text messages are JSON.
 * Events carry a sequence number; the manager answers `event_ack` once they are on disk, and drops one it already has.
 * `attach_output` goes as a binary message: 8 bytes attach id (raw), u64 little endian output offset, the bytes; `shell_output`
 * goes the same way with the grant id of the shell.
 */
/** Of a window's end. */
const GoesOn = z.literal(true).optional().describe("only this window is closed, not the terminal");

export const AgentletMessage = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("hello"),
    protocol: ProtocolVersion,
    epoch: z.int().nonnegative(),
  }),
  z.strictObject({ kind: z.literal("event"), seq: z.int().positive(), event: AgentletEvent }),
  z.strictObject({
    kind: z.literal("attach_snapshot"),
    attach: AttachId,
    offset: z.int().nonnegative(),
    ...Size,
    data: z
      .string()
      .describe("bytes that repaint the screen; empty: the stream from offset follows"),
  }),
  z
    .strictObject({
      kind: z.literal("attach_taken"),
      attach: AttachId,
      bytes: z.int().nonnegative(),
    })
    .describe("so much of what was typed there has been passed on; more may come"),
  z.strictObject({
    kind: z.literal("attach_close"),
    attach: AttachId,
    reason: z.string().max(256),
    goesOn: GoesOn,
  }),
  z.strictObject({
    kind: z.literal("shell_taken"),
    grant_id: GrantId,
    bytes: z.int().nonnegative(),
  }),
  z
    .strictObject({
      kind: z.literal("shell_open"),
      grant_id: GrantId,
      offset: z.int().nonnegative(),
      ...Size,
      data: z.string(),
    })
    .describe("the shell is there; the screen as in attach_snapshot"),
  z.strictObject({
    kind: z.literal("shell_close"),
    grant_id: GrantId,
    reason: z.string().max(256),
    exitCode: z.int().min(0).max(255).optional().describe("its program's, 128+n for a signal"),
  }),
]);
export type AgentletMessage = z.infer<typeof AgentletMessage>;

/** Manager to agentlet. */
export const AgentletCommand = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("event_ack"), seq: z.int().nonnegative() }),
  z.strictObject({ kind: z.literal("stop"), by: z.string().max(256) }),
  z.strictObject({
    kind: z.literal("prompt"),
    request: RequestId,
    by: z.string().max(256),
    text: PromptText,
  }),
  z.strictObject({
    kind: z.literal("answer"),
    request: RequestId,
    by: z.string().max(256),
    ask: z.int().positive().nullable().describe("the ask that is meant; null: the one that stands"),
    choice: Choice,
  }),
  z.strictObject({ kind: z.literal("interrupt"), request: RequestId, by: z.string().max(256) }),
  z
    .strictObject({ kind: z.literal("withdraw"), request: RequestId, reason: z.string().max(256) })
    .describe("nobody waits for this act any more: it is not begun, if nothing was typed yet"),
  z.strictObject({
    kind: z.literal("attach_open"),
    attach: AttachId,
    write: z.boolean(),
    fromOffset: z
      .int()
      .nonnegative()
      .nullable()
      .describe("stream from here if still held; null: snapshot first"),
    historyRows: z
      .int()
      .min(0)
      .max(5000)
      .optional()
      .describe("after the screen, the screen again below so many rows that left it"),
  }),
  z.strictObject({
    kind: z.literal("attach_input"),
    attach: AttachId,
    data: z.string().describe("base64 of the bytes typed"),
  }),
  z.strictObject({ kind: z.literal("attach_resize"), attach: AttachId, ...Size }),
  z.strictObject({
    kind: z.literal("attach_close"),
    attach: AttachId,
    reason: z.string().max(256),
  }),
  z
    .strictObject({
      kind: z.literal("shell_open"),
      grant_id: GrantId,
      ...Size,
      argv: z
        .array(z.string().max(4096))
        .max(256)
        .nullable()
        .describe("null: an interactive shell"),
      fromOffset: z.int().nonnegative().nullable().describe("as in attach_open"),
    })
    .describe("opens the shell of this grant, or takes its terminal up again while it is there"),
  z.strictObject({
    kind: z.literal("shell_input"),
    grant_id: GrantId,
    data: z.string().describe("base64 of the bytes typed"),
  }),
  z.strictObject({ kind: z.literal("shell_resize"), grant_id: GrantId, ...Size }),
  z.strictObject({
    kind: z.literal("shell_close"),
    grant_id: GrantId,
    reason: z.string().max(256),
  }),
]);
export type AgentletCommand = z.infer<typeof AgentletCommand>;

/**
 * Person to manager, WebSocket `/v1/runs/{run}/attach?write=0|1&from=OFFSET`, operator token. The manager relays between this
 * and the agentlet. Binary from the manager: u64 little endian output offset, then bytes. Binary from the person: bytes typed.
 */
export const AttachMessage = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("snapshot"),
    offset: z.int().nonnegative(),
    ...Size,
    data: z.string(),
  }),
  z
    .strictObject({ kind: z.literal("resize"), ...Size })
    .describe("from the person: the window changed"),
  z
    .strictObject({ kind: z.literal("waiting"), message: z.string() })
    .describe("the agentlet is not connected yet or again"),
  z.strictObject({ kind: z.literal("ended"), reason: z.string(), goesOn: GoesOn }),
]);
export type AttachMessage = z.infer<typeof AttachMessage>;
