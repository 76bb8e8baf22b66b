import type { Readable } from "node:stream";
import zlib from "node:zlib";
import { Refusal } from "./refusal.ts";

/** A decoded body may be this many times larger than what came, once it is beyond the free part. */
const MAX_RATIO = 200;
const FREE_BYTES = 16 * 1024 * 1024;

const decoders: Record<string, () => zlib.Gunzip | zlib.BrotliDecompress> = {
  gzip: () => zlib.createGunzip(),
  "x-gzip": () => zlib.createGunzip(),
  deflate: () => zlib.createInflate(),
  br: () => zlib.createBrotliDecompress(),
  zstd: () => zlib.createZstdDecompress(),
};

/** The coding of a body that must be decoded before it can be scanned; null for identity. */
export function codingOf(contentEncoding: string | undefined): string | null {
  const coding = (contentEncoding ?? "").trim().toLowerCase();
  return coding === "" || coding === "identity" ? null : coding;
}

/** The decoded body. Throws a `Refusal` `undecodable` for an unknown coding, broken data and a bomb. */
export async function* decodeBody(body: Readable, coding: string): AsyncGenerator<Buffer> {
  const create = Object.hasOwn(decoders, coding) ? decoders[coding] : undefined;
  if (create === undefined) throw undecodable("in an unknown content encoding");
  const decoder = create();
  let received = 0;
  let decoded = 0;
  body.on("data", (chunk: Buffer) => {
    received += chunk.length;
  });
  // pipeline() would end the upstream's socket before its failure could be told from a broken encoding.
  let upstreamFault: Error | undefined;
  body.once("error", (error: Error) => {
    upstreamFault = error;
    decoder.destroy(error);
  });
  body.pipe(decoder);
  try {
    for await (const chunk of decoder) {
      decoded += (chunk as Buffer).length;
      if (decoded > FREE_BYTES && decoded > received * MAX_RATIO) {
        throw undecodable("a compressed body that grows without measure");
      }
      yield chunk as Buffer;
    }
  } catch (error) {
    if (upstreamFault !== undefined || error instanceof Refusal) throw error;
    throw undecodable("broken in its content encoding");
  } finally {
    decoder.destroy();
  }
}

function undecodable(what: string): Refusal {
  return new Refusal(
    502,
    "undecodable",
    "response_undecodable",
    `The upstream's response is ${what}, so it cannot be searched for secrets and was withheld`,
  );
}
