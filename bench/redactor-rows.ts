import { randomBytes } from "node:crypto";
import { compileRedaction, Redactor } from "../src/kit/redactor.ts";
import type { RedactionTable } from "../src/kit/redactor.ts";
import { median, quantile } from "./measure.ts";
import { mixedOutput } from "./mixed-output.ts";
import { peerRow } from "./row.ts";
import type { Row } from "./row.ts";

const SECRETS = 20;
const SAMPLE_BYTES = 16_000_000;
const CHUNK_BYTES = 64 * 1024;
const PASSES = 5;
const EVENTS = 20_000;
const MAX_EVENT_MS = 0.1;

/** How fast the redactor is with twenty secrets in all their forms, and how long one event of a stream waits for it. */
export async function redactorRows(): Promise<Row[]> {
  const secrets = Array.from({ length: SECRETS }, () =>
    Buffer.from(randomBytes(30).toString("base64url")),
  );
  const table = compileRedaction(secrets);
  const sample = withSecrets(mixedOutput(SAMPLE_BYTES), secrets);
  const ours: number[] = [];
  const floor: number[] = [];
  redact(table, sample);
  readOnce(sample);
  for (let pass = 0; pass < PASSES; pass++) {
    floor.push(rateOf(sample, () => readOnce(sample)));
    ours.push(rateOf(sample, () => redact(table, sample)));
  }
  const event = eventTimes(table);
  const copy = { name: "copying it", value: median(event.copied) };
  return [
    peerRow(
      `redactor with ${SECRETS} secrets in all forms, mixed output`,
      median(ours),
      "MB/s",
      { name: "a loop that reads each byte once", value: median(floor) },
      { atLeast: 100 },
    ),
    ...[0.5, 0.99].map((share) =>
      peerRow(
        `delay of an SSE event by the redactor, p${share * 100}`,
        quantile(event.redacted, share),
        "ms",
        copy,
        { atMost: MAX_EVENT_MS },
      ),
    ),
  ];
}

/** One secret in each megabyte, in turns raw and as base64. */
function withSecrets(sample: Buffer, secrets: Buffer[]): Buffer {
  for (let at = 0; at + 1000 < sample.length; at += 1_000_000) {
    const secret = secrets[(at / 1_000_000) % secrets.length] as Buffer;
    sample.write((at / 1_000_000) % 2 === 0 ? secret.toString() : secret.toString("base64"), at);
  }
  return sample;
}

function redact(table: RedactionTable, sample: Buffer): void {
  const redactor = new Redactor(table);
  let bytes = 0;
  for (let at = 0; at < sample.length; at += CHUNK_BYTES)
    bytes += redactor.push(sample.subarray(at, at + CHUNK_BYTES)).length;
  bytes += redactor.end().length;
  const planted = Math.ceil(sample.length / 1_000_000);
  if (bytes !== sample.length || redactor.masked < planted)
    throw new Error(
      `Expected ${sample.length} bytes and ${planted} masked secrets, got ${bytes} and ${redactor.masked}`,
    );
}

function readOnce(sample: Buffer): number {
  let sum = 0;
  for (let at = 0; at < sample.length; at++) sum = (sum + (sample[at] as number)) | 0;
  return sum;
}

function rateOf(sample: Buffer, work: () => unknown): number {
  const started = performance.now();
  work();
  return sample.length / 1000 / (performance.now() - started);
}

/** Milliseconds for each event of a model's stream. An event must come out whole at once: its end begins no secret. */
function eventTimes(table: RedactionTable): { redacted: number[]; copied: number[] } {
  const redactor = new Redactor(table);
  const redacted: number[] = [];
  const copied: number[] = [];
  for (let turn = 0; turn < EVENTS; turn++) {
    const data = { type: "content_block_delta", index: 0, delta: { text: ` word ${turn} of it` } };
    const event = Buffer.from(`event: content_block_delta\ndata: ${JSON.stringify(data)}\n\n`);
    const started = performance.now();
    const out = redactor.push(event);
    const then = performance.now();
    const copy = Buffer.from(event);
    const end = performance.now();
    if (out.length !== copy.length)
      throw new Error(`Expected ${copy.length} bytes of an event, got ${out.length}`);
    if (turn < EVENTS / 10) continue;
    redacted.push(then - started);
    copied.push(end - then);
  }
  return { redacted, copied };
}
