import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import timers from "node:timers/promises";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import { atEnd } from "../helpers/at-end.ts";
import { Redactor } from "../../src/kit/redactor.ts";
import {
  readSecretFile,
  runSecretCommand,
  SecretSourceError,
} from "../../src/kit/secret-sources.ts";
import { CallSecrets, type SecretChange } from "../../src/tool-runner/call-secrets.ts";
import { LiveSecret } from "../../src/tool-runner/live-secret.ts";
import type { SecretProvider } from "../../src/tool-runner/secret-providers.ts";
import { never } from "./support.ts";

const ONE = "first-secret-0123456789";
const TWO = "other-secret-9876543210";
const REF = { name: "token", key: "value" };
const ID = "token/value";

function aDirectory(context: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "live-secret-"));
  atEnd(context, () => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A directory as a Kubernetes secret volume has it: KEY → ..data/KEY, ..data → a directory of one version. */
function mounted(dir: string, value: string): void {
  const version = mkdtempSync(join(dir, "..version-"));
  writeFileSync(join(version, "value"), value);
  symlinkSync(version, join(dir, "..data-new"));
  renameSync(join(dir, "..data-new"), join(dir, "..data"));
}

function secretsOf(path: string): { secrets: CallSecrets; changes: SecretChange[] } {
  const changes: SecretChange[] = [];
  const secrets = new CallSecrets(new Map([[ID, Buffer.from(ONE)]]), [], {
    sources: { [ID]: { from: "file", path } },
    onChange: (change) => changes.push(change),
  });
  return { secrets, changes };
}

suite("a secret in a mounted file", () => {
  test("is read at every use: a swapped volume gives the new value at the next one", async (context) => {
    const dir = aDirectory(context);
    mounted(dir, `${ONE}\n`);
    symlinkSync("..data/value", join(dir, "value"));
    const { secrets, changes } = secretsOf(join(dir, "value"));

    const before = await secrets.lend(REF);
    mounted(dir, TWO);
    const after = await secrets.lend(REF);

    assert.deepEqual([before.version, after.version], ["1.1", "1.2"]);
    assert.equal(after.value.toString(), TWO);
    assert.equal(before.value.toString(), ONE);
    assert.equal(before.revoked.aborted, false);
    assert.deepEqual(changes, [{ secret: ID, from: "file", version: "1.2", problem: null }]);
    secrets.wipe();
  });

  test("that is gone has no value: nothing older is lent, and what is open with it is told", async (context) => {
    const path = join(aDirectory(context), "value");
    writeFileSync(path, ONE);
    const { secrets, changes } = secretsOf(path);
    using open = await secrets.lend(REF);

    rmSync(path);
    const told = new Promise((resolve) => open.revoked.addEventListener("abort", resolve));
    await told;

    await assert.rejects(secrets.lend(REF), { code: "secret_unavailable" });
    assert.throws(() => secrets.valueOf(REF), { code: "secret_missing" });
    assert.deepEqual(changes, [
      { secret: ID, from: "file", version: null, problem: "file cannot be read: ENOENT" },
    ]);
    writeFileSync(path, TWO);
    const again = await secrets.lend(REF);
    assert.deepEqual([again.version, again.revoked.aborted], ["1.2", false]);
    secrets.wipe();
    await assert.rejects(secrets.lend(REF));
  });

  test("that is empty, a directory, a FIFO or too large is no secret, and reading it never hangs", (context) => {
    const dir = aDirectory(context);
    const path = join(dir, "value");
    const why = (change: () => void): string => {
      rmSync(path, { recursive: true, force: true });
      change();
      try {
        readSecretFile(path);
        return "read";
      } catch (error) {
        assert.ok(error instanceof SecretSourceError);
        return error.message;
      }
    };

    assert.equal(
      why(() => writeFileSync(path, "\n")),
      "file is empty",
    );
    assert.equal(
      why(() => mkdirSync(path)),
      "file is not a regular file",
    );
    assert.equal(
      why(() => execFileSync("mkfifo", [path])),
      "file is not a regular file",
    );
    const large = (): void => {
      writeFileSync(path, "x");
      truncateSync(path, 2 * 1024 * 1024);
    };
    assert.equal(why(large), "file is larger than 1048576 bytes");
    assert.equal(readSecretFileOf(dir, `${ONE}\r\n`), ONE);
  });

  test("is masked in every stream before it is lent, in those that are open already too", async (context) => {
    const path = join(aDirectory(context), "value");
    writeFileSync(path, ONE);
    const { secrets } = secretsOf(path);
    assert.ok(secrets.redaction !== null);
    const open = new Redactor(secrets.redaction);
    const head = open.push(Buffer.from(`a ${ONE} b `)).toString();

    for (let index = 0; index < 40; index += 1) {
      // Nothing in common with the others: a piece of one would be masked as a piece of another.
      const value = createHash("sha256").update(`${index}`).digest("base64url");
      writeFileSync(path, value);
      const lent = await secrets.lend(REF);
      const text = `${value.slice(0, 9)}|${lent.value.toString()}`;
      const masked = open.push(Buffer.from(text.slice(0, 30))).toString();
      const rest = open.push(Buffer.from(`${text.slice(30)}.\n`)).toString();
      assert.ok(!(masked + rest).includes(value), `open stream, ${index}`);
      const fresh = new Redactor(secrets.redaction);
      const all = fresh.push(Buffer.from(`${text}.\n`)).toString() + fresh.end().toString();
      assert.ok(!all.includes(value), `new stream, ${index}`);
    }
    assert.equal(head.includes(ONE), false);
    assert.ok(open.masked >= 41);
    secrets.wipe();
  });
});

function readSecretFileOf(dir: string, content: string): string {
  const path = join(dir, "content");
  writeFileSync(path, content);
  return readSecretFile(path).toString();
}

suite("a secret from a command", () => {
  const run = async (command: string): Promise<string> =>
    (
      await runSecretCommand({ command, cwd: "/", env: { PATH: "/usr/bin:/bin" } }, never)
    ).toString();

  test("is all that it printed, when it ended with 0; data before a failure is no secret", async () => {
    assert.equal(await run(`printf '${ONE}\\n'`), ONE);
    for (const [command, why] of [
      [`printf ${ONE}; exit 3`, "command ended with 3"],
      [`printf ${ONE}; kill -9 $$`, "command ended by SIGKILL"],
      ["true", "command printed nothing"],
      ["yes", "command printed more than 1048576 bytes"],
    ] as const)
      await assert.rejects(run(command), (error: Error) => {
        assert.equal(error.message, why);
        return error instanceof SecretSourceError && !error.message.includes(ONE);
      });
  });

  test("that is given up takes its children with it", async () => {
    const stop = new AbortController();
    const given = runSecretCommand(
      { command: "sleep 97643 & wait", cwd: "/", env: { PATH: "/usr/bin:/bin" } },
      stop.signal,
    );
    setTimeout(() => stop.abort(new Error("enough")), 50);

    await assert.rejects(given, /enough/);
    const left = (): string =>
      spawnSync("pgrep", ["-cf", "^sleep 97643"], { encoding: "utf8" }).stdout.trim();
    // The signal is sent; the process may take a moment to be gone.
    for (let tries = 0; tries < 100 && left() !== "0"; tries += 1) await timers.setTimeout(20);
    assert.equal(left(), "0");
  });
});

suite("reads of one secret", () => {
  test("who comes while a read runs gets what a later one finds, and at most one waits", async () => {
    const reads: PromiseWithResolvers<Buffer>[] = [];
    const provider: SecretProvider = {
      from: "exec",
      watchMs: null,
      resolve: async () => {
        const read = Promise.withResolvers<Buffer>();
        reads.push(read);
        return await read.promise;
      },
    };
    const learned: string[] = [];
    const secret = new LiveSecret({
      id: ID,
      provider,
      value: Buffer.from(ONE),
      learn: (value) => learned.push(value.toString()),
      onChange: () => {},
    });

    const first = secret.lend();
    const later = [secret.lend(), secret.lend(), secret.lend()];
    reads[0]?.resolve(Buffer.from(ONE));
    assert.equal((await first).version, 1);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(reads.length, 2);
    reads[1]?.resolve(Buffer.from(TWO));

    for (const lease of await Promise.all(later)) assert.equal(lease.value.toString(), TWO);
    assert.deepEqual(learned, [TWO]);
    assert.equal(reads.length, 2);
  });

  test("an error that quotes the value is not passed on", async () => {
    const secret = new LiveSecret({
      id: ID,
      provider: {
        from: "exec",
        watchMs: null,
        resolve: () => Promise.reject(new Error(`partial ${ONE}`)),
      },
      value: Buffer.from(ONE),
      learn: () => {},
      onChange: ({ problem }) => assert.doesNotMatch(problem ?? "", /first-secret/),
    });

    await assert.rejects(secret.lend(), (error: Error) => !error.message.includes("first-secret"));
  });
});
