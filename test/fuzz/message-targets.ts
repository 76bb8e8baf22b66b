import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { compileRedaction, Redactor } from "../../src/kit/redactor.ts";
import { PlatformError } from "../../src/kit/platform-error.ts";
import { BadFrameError, encodeFrame, FrameReader } from "../../src/protocol/frames.ts";
import { parseAuthority } from "../../src/tool-runner/boundary/authority.ts";
import { CertificateAuthority } from "../../src/tool-runner/boundary/certificate-authority.ts";
import { readJsonBody } from "../../src/tool-runner/json-body.ts";
import { guardJson } from "../../src/tool-runner/json-guard.ts";
import { formsOf } from "../helpers/secret-forms.ts";
import type { FuzzTarget } from "./target.ts";

const json: FuzzTarget = {
  seeds: [
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a_b","arguments":{"text":"x","n":5}}}',
    '{"arguments":{"__proto__":{"a":1},"constructor":{"prototype":{}}}}',
    `${"[".repeat(70)}${"]".repeat(70)}`,
    '{"a":"\\ud800","b":9007199254740993,"c":1e999}',
  ].map((each) => Buffer.from(each)),
  async run(input) {
    const request = Object.assign(Readable.from([input]), {
      headers: { "content-type": "application/json" },
    }) as unknown as IncomingMessage;
    try {
      const value = await readJsonBody(request);
      guardJson(value);
      assert.ok(!JSON.stringify(value)?.includes('"__proto__":'));
    } catch (error) {
      assert.ok(error instanceof PlatformError, String(error));
    }
    assert.deepEqual(Object.keys(Object.prototype), []);
  },
};

const frames: FuzzTarget = {
  seeds: [
    encodeFrame({ type: "output", seq: 1, timeUs: 5, offset: 0, bytes: Buffer.from("hello") }),
    encodeFrame({ type: "resize", seq: 2, timeUs: 9, cols: 80, rows: 24 }),
    encodeFrame({ type: "exit", seq: 3, timeUs: 12, status: 0 }),
  ],
  run(input) {
    const read = (size: number): string | null => {
      const reader = new FrameReader();
      const frames: Buffer[] = [];
      try {
        for (let at = 0; at < input.length; at += size)
          for (const frame of reader.push(input.subarray(at, at + size)))
            frames.push(encodeFrame(frame));
      } catch (error) {
        assert.ok(error instanceof BadFrameError, String(error));
        return null;
      }
      return Buffer.concat(frames).toString("latin1");
    };
    const whole = read(input.length + 1);
    for (const size of [1, 5]) assert.equal(read(size), whole);
  },
};

const SECRET = Buffer.from("c4nary+/=%\"\\'<&>\u00fc-0123456789abcdef");
const table = compileRedaction([SECRET]);

const redactor: FuzzTarget = {
  seeds: [
    ...formsOf(SECRET).map(({ bytes }) => Buffer.concat([Buffer.from("data: "), bytes])),
    Buffer.from("data: x\n\n"),
  ],
  run(input) {
    const read = (size: number): Buffer => {
      const each = new Redactor(table);
      const out: Buffer[] = [];
      for (let at = 0; at < input.length; at += size)
        out.push(each.push(input.subarray(at, at + size)));
      return Buffer.concat([...out, each.end()]);
    };
    const whole = read(input.length + 1);
    assert.equal(whole.length, input.length);
    assert.ok(!whole.includes(SECRET));
    for (const size of [1, 11]) assert.ok(read(size).equals(whole));
  },
};

const authority = new CertificateAuthority({ name: "fuzz" });

const der: FuzzTarget = {
  seeds: [
    "api.test",
    "a".repeat(63),
    `${"a".repeat(60)}.${"b".repeat(60)}.example`,
    "xn--bcher-kva.example",
  ].map((each) => Buffer.from(each)),
  run(input) {
    const host = parseAuthority(`${input.toString("latin1")}:443`)?.host;
    if (host === undefined) return;
    const leaf = new X509Certificate(authority.issue(host).certPem);
    assert.equal(leaf.subjectAltName, `DNS:${host}`);
    assert.ok(leaf.checkHost(host) !== undefined);
  },
};

export const messageTargets: Record<string, FuzzTarget> = { json, frames, redactor, der };
