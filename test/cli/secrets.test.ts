import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, suite, test } from "node:test";
import type { Placed } from "../../src/cli/manifests/load.ts";
import {
  parseSecretWords,
  refuseUnused,
  resolveSecrets,
  secretFilesOf,
} from "../../src/cli/secrets.ts";
import type { Secret } from "../../src/protocol/manifest.ts";

const never = new AbortController().signal;
const need = { id: "api/token", neededBy: 'credential "api" of Tool "t"' };
const place = { file: "-", baseDir: "/", line: 1 };
const aSecret = (fields: Partial<Secret>): Placed<Secret> => ({
  value: { apiVersion: "v1", kind: "Secret", metadata: { name: "api" }, ...fields },
  place,
});

suite("parseSecretWords", () => {
  test("knows three sources", () => {
    assert.deepEqual(parseSecretWords(["a/k=@x=y", "b/k.1=env:VAR", "c/k=exec:pass show c"]), [
      { id: "a/k", from: "file", source: "x=y" },
      { id: "b/k.1", from: "env", source: "VAR" },
      { id: "c/k", from: "exec", source: "pass show c" },
    ]);
  });

  for (const word of ["", "a", "a=b", "a/k", "a/k=", "a/k=@", "a/k=hunter2", "A/k=@f", "a/k=env:"])
    test(`refuses "${word}" without quoting a value`, () => {
      assert.throws(
        () => parseSecretWords([word]),
        (error: Error & { code?: string }) => {
          assert.equal(error.code, "usage");
          assert.doesNotMatch(error.message, /hunter2/);
          return true;
        },
      );
    });

  test("refuses the same secret twice", () => {
    assert.throws(() => parseSecretWords(["a/k=@x", "a/k=env:Y"]), { code: "usage" });
  });
});

suite("resolveSecrets", () => {
  let dir = "";
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "agentkube-secrets-"));
    writeFileSync(join(dir, "token"), "from-file\n");
    writeFileSync(join(dir, "crlf"), "from-file\r\n");
    writeFileSync(join(dir, "two"), "from-file\n\n");
    writeFileSync(join(dir, "empty"), "\n");
  });
  after(() => rmSync(dir, { recursive: true }));

  const resolve = async (word: string | null, documents: Placed<Secret>[] = []) =>
    await resolveSecrets(
      [need],
      parseSecretWords(word === null ? [] : [`api/token=${word}`]),
      documents,
      { env: { TOKEN: "from-env\n", NOTHING: "" }, cwd: dir },
      never,
    );

  for (const [title, word, value] of [
    ["a file, without its last line break", "@token", "from-file"],
    ["a file with CRLF", "@crlf", "from-file"],
    ["a file with an empty last line, less one line break", "@two", "from-file\n"],
    ["an environment variable as it is", "env:TOKEN", "from-env\n"],
    ["a command", "exec:printf from; echo -exec", "from-exec"],
  ] as const)
    test(`reads ${title}`, async () => {
      const { values } = await resolve(word);

      assert.equal(values.get("api/token")?.toString(), value);
    });

  test("reads documents; stringData wins over data; words win over both", async () => {
    const document = aSecret({
      data: { token: Buffer.from("from-data").toString("base64") },
      stringData: { token: "from-string" },
    });

    assert.equal(
      (await resolve(null, [document])).values.get("api/token")?.toString(),
      "from-string",
    );
    assert.equal(
      (await resolve("@token", [document])).values.get("api/token")?.toString(),
      "from-file",
    );
  });

  for (const [title, word, says] of [
    ["that nobody gave", null, /Missing secret "api\/token", needed by credential "api"/],
    ["that is empty", "@empty", /empty/],
    ["of an empty variable", "env:NOTHING", /empty/],
    ["of a variable that is not set", "env:ABSENT", /ABSENT is not set/],
    ["of a file that is not there", "@absent", /ENOENT/],
    ["of a command that fails", "exec:echo hunter2; exit 4", /ended with 4/],
    ["of a command that is killed", "exec:kill -9 $$", /SIGKILL/],
  ] as const)
    test(`refuses a secret ${title}`, async () => {
      await assert.rejects(resolve(word), (error: Error & { code?: string; fix?: string }) => {
        assert.equal(error.code, "secret_missing");
        assert.match(error.message, says);
        assert.doesNotMatch(error.message, /hunter2/);
        assert.notEqual(error.fix, undefined);
        return true;
      });
    });

  test("names every missing secret at once", async () => {
    const other = { id: "db/password", neededBy: "another" };
    await assert.rejects(
      resolveSecrets([need, other], [], [], { env: {}, cwd: dir }, never),
      /"api\/token".*"db\/password"/,
    );
  });

  test("refuses a word that nothing uses, and names those that are used", () => {
    const words = parseSecretWords(["api/tokn=@token"]);
    assert.throws(() => refuseUnused(words, ["api/token"]), {
      code: "usage",
      message: "--secret api/tokn: nothing uses it",
      fix: "the secrets that are used: api/token",
    });
    assert.throws(() => refuseUnused(words, []), { fix: "leave it out: no secret is used here" });
    refuseUnused(words, ["api/token", "api/tokn"]);
  });

  test("a command is ended with what it started when the run is stopped", async () => {
    const stop = AbortSignal.timeout(200);
    const words = parseSecretWords(["api/token=exec:sleep 60 & sleep 60"]);

    await assert.rejects(resolveSecrets([need], words, [], { env: {}, cwd: dir }, stop));
  });

  test("secretFilesOf follows links and leaves out what is not there", () => {
    const words = parseSecretWords(["a/k=@token", "b/k=@absent", "c/k=env:X"]);

    assert.deepEqual(secretFilesOf(words, dir), [join(dir, "token")]);
  });
});
