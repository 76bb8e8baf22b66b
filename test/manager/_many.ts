import { randomBytes, createHash } from "node:crypto";
import { openManager } from "/work/main/src/manager/manager.ts";
import { silentLog } from "/work/main/src/kit/log.ts";
import { native } from "/work/main/src/kit/native.ts";
import { seedRun, recorder, sha256 } from "/work/main/test/manager/seed.ts";
import { encodeAppend } from "/work/main/src/protocol/recording-link.ts";
import { mkdtempSync } from "node:fs";
const dataDir = mkdtempSync("/var/tmp/many-");
const manager = await openManager({ dataDir, port: 0, ephemeral: false, capBytes: 1e12, version: "0", lockFile: (fd: number) => native().lockFile(fd), log: silentLog });
const N = 1000, ROUNDS = 10;
let t = performance.now();
const rs = [];
for (let i = 0; i < N; i++) { const run = await seedRun(manager, dataDir); rs.push((await recorder(manager, run)).peer); }
console.log("connect", performance.now() - t);
t = performance.now();
const lat: number[] = [];
await Promise.all(rs.map(async (p) => {
  let off = 0;
  for (let r = 0; r < ROUNDS; r++) {
    const b = Buffer.alloc(1000, "x"); const t0 = performance.now();
    await p.send(encodeAppend(off, b)); off += 1000;
    await p.until((m) => m.kind === "committed" && m.bytes === off);
    lat.push(performance.now() - t0);
    await new Promise((r) => setTimeout(r, Math.random() * 1000));
  }
}));
lat.sort((a, b) => a - b);
console.log("rounds", performance.now() - t, "p50", lat[lat.length >> 1], "p99", lat[Math.floor(lat.length * 0.99)], "max", lat.at(-1), "rss", process.memoryUsage.rss() / 1e6);
for (const p of rs) p.socket.terminate();
await manager[Symbol.asyncDispose]();
