// Runs in zone A with its user's rights, so that no link of the agent's leads to a file that the agent cannot read or write anyway.
//   session-files.mjs keep MAX_BYTES MAX_FILES PATTERN…      prints the session's files, as lines
//   session-files.mjs restore ARCHIVE MAX_BYTES PATTERN…     writes the files of an archive; HOME is new. With SESSION_TOKEN_MASK
//                                                            and SESSION_TOKEN the one is replaced by the other
// Patterns are relative to HOME. On the terminal, which is no channel for bytes: `file BASE64` of {path, bytes, mtimeMs}, then
// `data BASE64` until its bytes are there; at the end `done`, or `refused WHY`.
import {
  globSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join, matchesGlob, normalize } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { zstdDecompressSync } from "node:zlib";

const HOME = process.env.HOME ?? "/home/agent";
const CHUNK = 48 * 1024;

function say(line) {
  let rest = Buffer.from(`${line}\n`);
  while (rest.length > 0) rest = rest.subarray(writeSync(1, rest));
}

/** A database is kept as one file without its log: the log's checksums would not survive a byte that is masked. */
function contentOf(path) {
  if (!path.endsWith(".db")) return readFileSync(path);
  const copy = join("/tmp", `.agentkube-session-${process.pid}.db`);
  const database = new DatabaseSync(path);
  try {
    database.prepare("VACUUM INTO ?").run(copy);
    return readFileSync(copy);
  } finally {
    database.close();
    rmSync(copy, { force: true });
  }
}

function keep(maxBytes, maxFiles, patterns) {
  const paths = [...new Set(globSync(patterns, { cwd: HOME }))];
  const files = paths
    .map((path) => ({ path, facts: lstatSync(join(HOME, path)) }))
    .filter(({ facts }) => facts.isFile());
  const bytes = files.reduce((sum, { facts }) => sum + facts.size, 0);
  if (files.length > maxFiles)
    throw new Error(`${files.length} files, at most ${maxFiles} are kept`);
  if (bytes > maxBytes) throw new Error(`${bytes} bytes, at most ${maxBytes} are kept`);
  for (const { path, facts } of files) {
    const data = contentOf(join(HOME, path));
    const head = { path, bytes: data.length, mtimeMs: Math.floor(facts.mtimeMs) };
    say(`file ${Buffer.from(JSON.stringify(head)).toString("base64")}`);
    for (let at = 0; at < data.length; at += CHUNK)
      say(`data ${data.subarray(at, at + CHUNK).toString("base64")}`);
  }
}

/** Only one of the same length: the length of a text in a database stands elsewhere. */
function putToken(content) {
  const { SESSION_TOKEN_MASK: mask = "", SESSION_TOKEN: token = "" } = process.env;
  if (mask === "" || mask.length !== token.length) return;
  for (let at = content.indexOf(mask); at !== -1; at = content.indexOf(mask, at + mask.length))
    content.write(token, at, "latin1");
}

function restore(archive, maxBytes, patterns) {
  const whole = readFileSync(archive);
  // Headers of files come on top.
  const maxOutputLength = maxBytes + 4 * 1024 * 1024;
  const data = zstdDecompressSync(whole.subarray(whole.indexOf(0x0a) + 1), { maxOutputLength });
  for (let at = 0; at < data.length;) {
    const end = data.indexOf(0x0a, at);
    const { path, bytes, mtimeMs } = JSON.parse(data.toString("utf8", at, end));
    const isOwn =
      path === normalize(path) && patterns.some((pattern) => matchesGlob(path, pattern));
    if (!isOwn) throw new Error("the archive holds a file that is none of a session's");
    const target = join(HOME, path);
    const content = data.subarray(end + 1, end + 1 + bytes);
    putToken(content);
    mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
    writeFileSync(target, content, { flag: "wx", mode: 0o600 });
    utimesSync(target, mtimeMs / 1000, mtimeMs / 1000);
    at = end + 1 + bytes;
  }
}

const [verb, ...words] = process.argv.slice(2);
try {
  if (verb === "keep") keep(Number(words[0]), Number(words[1]), words.slice(2));
  else if (verb === "restore") restore(words[0], Number(words[1]), words.slice(2));
  else throw new Error(`expected keep or restore, got ${verb}`);
  say("done");
} catch (error) {
  say(`refused ${String(error.message).replaceAll(/\s+/g, " ").slice(0, 500)}`);
  process.exitCode = 1;
}
