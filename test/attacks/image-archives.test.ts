// Images that want to write outside of their root, or to be more than they seem: each is refused with its entry named, and
// neither the store nor anything beside it holds a trace.
import assert from "node:assert/strict";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  chmodSync,
  readlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { suite, test, type TestContext } from "node:test";
import * as fc from "fast-check";
import { storeImage } from "../../src/tool-runner/store-image.ts";
import {
  type ImageParts,
  type LayerItem,
  layerOf,
  writeImage,
} from "../tool-runner/image-builder.ts";
import { never, temporaryDirectory } from "../tool-runner/support.ts";

interface Place {
  root: string;
  store: string;
  archive: string;
}

function aPlace(context: TestContext): Place {
  const root = temporaryDirectory(context);
  const store = join(root, "deep", "er", "store");
  mkdirSync(store, { recursive: true });
  return { root, store, archive: join(root, "image.tar") };
}

/** Everything in the place but the archive and the store's own directories. */
function traces({ root, store }: Place): string[] {
  const found = readdirSync(root, { recursive: true, encoding: "utf8" });
  const own = ["image.tar", "deep", "deep/er", "deep/er/store"];
  return [
    ...found.filter((name) => !own.includes(name)),
    ...readdirSync(store).filter((name) => name.startsWith(".")),
  ];
}

async function refused(context: TestContext, parts: ImageParts): Promise<string> {
  const place = aPlace(context);
  await writeImage(place.archive, parts);
  let message = "";
  await assert.rejects(
    storeImage(place.archive, place.store, never),
    (error: Error & { code: string }) => {
      message = error.message;
      return error.code === "image_invalid";
    },
  );
  assert.deepEqual(traces(place), []);
  return message;
}

async function unpacked(context: TestContext, parts: ImageParts): Promise<string> {
  const place = aPlace(context);
  await writeImage(place.archive, parts);
  const { dir } = await storeImage(place.archive, place.store, never);
  assert.equal(existsSync(join(place.root, "escaped")), false);
  return join(dir, "rootfs");
}

const OWN: LayerItem[] = [{ name: "bin/" }, { name: "bin/sh", data: "#!/x", mode: 0o755 }];

suite("an image archive that is hostile", () => {
  const cases: [string, LayerItem[], RegExp][] = [
    ["climbs out by its name", [{ name: "../../../escaped", data: "x" }], /"\.\.\/.*"\.\."/],
    ["climbs out in the middle of a name", [{ name: "bin/../../../escaped", data: "x" }], /"\.\."/],
    ["has an absolute path", [{ name: "/tmp/escaped", data: "x" }], /absolute path/],
    [
      "writes through a link that climbs out",
      [
        { name: "out", type: "symlink", linkname: "../../.." },
        { name: "out/escaped", data: "x" },
      ],
      /"out\/escaped".*through a link that leaves/,
    ],
    [
      "writes through an absolute link to a place of the host",
      [
        { name: "out", type: "symlink", linkname: "/tmp/elsewhere" },
        { name: "out/escaped", data: "x" },
      ],
      /through a link that leaves/,
    ],
    [
      "writes through a chain of links",
      [
        { name: "a", type: "symlink", linkname: "b" },
        { name: "b", type: "symlink", linkname: "../.." },
        { name: "a/escaped", data: "x" },
      ],
      /through a link that leaves/,
    ],
    [
      "writes through links in a circle",
      [
        { name: "a", type: "symlink", linkname: "b" },
        { name: "b", type: "symlink", linkname: "a" },
        { name: "a/x", data: "x" },
      ],
      /through a link that leaves/,
    ],
    [
      "has a hard link to a file of the host",
      [{ name: "hard", type: "link", linkname: "/etc/shadow" }],
      /absolute path/,
    ],
    [
      "has a hard link that climbs out",
      [{ name: "hard", type: "link", linkname: "../../image.tar" }],
      /"\.\."/,
    ],
    [
      "has a hard link to nothing",
      [{ name: "hard", type: "link", linkname: "nothing" }],
      /no file of the image/,
    ],
    [
      "has a hard link through a link",
      [
        { name: "l", type: "symlink", linkname: "/" },
        { name: "h", type: "link", linkname: "l/etc/shadow" },
      ],
      /no file of the image/,
    ],
    ["has a device node", [{ name: "disk", type: "block-device", devmajor: 8 }], /block-device/],
    ["has a FIFO", [{ name: "pipe", type: "fifo" }], /fifo/],
    ["names a file twice in a layer", [{ name: "bin/sh", data: "x" }], /in one layer twice/],
    ["has a file where a directory is", [{ name: "bin/sh/x", data: "x" }], /below a file/],
    ["removes its own parent", [{ name: "bin/.wh...", data: "" }], /whiteout/],
    ["has a name that is not text", [{ name: "a\u{FFFD}b", data: "x" }], /not UTF-8/],
    ["has a name that is too long", [{ name: "n".repeat(300), data: "x" }], /more than 255 bytes/],
    ["has a path that is too long", [{ name: "d/".repeat(2100) + "x", data: "x" }], /too long/],
    [
      "has a sparse file",
      [{ name: "sparse", data: "x", pax: { "GNU.sparse.realsize": "99999999999" } }],
      /sparse/,
    ],
  ];
  for (const [name, items, message] of cases) {
    test(`is refused when it ${name}`, async (context) => {
      assert.match(await refused(context, { layers: [[...OWN, ...items]] }), message);
    });
  }

  test("is refused when a later layer writes through a link of an earlier one", async (context) => {
    const message = await refused(context, {
      layers: [
        [{ name: "out", type: "symlink", linkname: "/../../x" }],
        [{ name: "out/escaped", data: "x" }],
      ],
    });

    assert.match(message, /through a link that leaves/);
  });

  test("is refused when it is a bomb, before it fills the disk", async (context) => {
    const zeros = Buffer.alloc(64 * 1024 * 1024);
    const bomb = await layerOf([{ name: "zeros", data: zeros }]);
    const layers = Array.from({ length: 40 }, () => bomb);

    assert.match(await refused(context, { layers, compression: "gzip" }), /2 GB/);
  });

  test("is refused when many names share one large file", async (context) => {
    const items: LayerItem[] = [{ name: "big", data: Buffer.alloc(4 * 1024 * 1024) }];
    for (let at = 0; at < 600; at += 1)
      items.push({ name: `l${at}`, type: "link", linkname: "big" });

    assert.match(await refused(context, { layers: [items] }), /2 GB/);
  });

  test("is refused when it has a million entries", async (context) => {
    // One layer's bytes, repeated under a growing name, would take long to build: directories are the cheapest entries.
    const layer = await layerOf(Array.from({ length: 30_000 }, (_, at) => ({ name: `d${at}/` })));
    const rest = layer.subarray(0, layer.length - 1024);
    const many = Buffer.concat([...Array.from({ length: 8 }, () => rest), layer]);

    assert.match(await refused(context, { layers: [many], compression: "gzip" }), /too many/);
  });

  test("is refused when a blob is not what its digest says, wherever it lies", async (context) => {
    const flip = (want: RegExp) => (_digest: string, data: Buffer) => {
      if (!want.test(data.toString("latin1"))) return data;
      const other = Buffer.from(data);
      other[other.length - 1] = (other.at(-1) ?? 0) ^ 1;
      return other;
    };

    assert.match(await refused(context, { layers: [OWN], damage: flip(/ustar/) }), /bytes are not/);
    assert.match(
      await refused(context, { layers: [OWN], damage: flip(/diff_ids/) }),
      /lacks the blob|bytes are not/,
    );
    assert.match(
      await refused(context, { layers: [OWN], diffId: `sha256:${"0".repeat(64)}` }),
      /diff_id/,
    );
  });

  test("is refused when it is for another machine, of another form, or too large", async (context) => {
    const place = aPlace(context);
    const attempt = async (change: () => void): Promise<string> => {
      change();
      return storeImage(place.archive, place.store, never).then(
        () => "",
        (error: unknown) => (error as Error).message,
      );
    };

    assert.match(await refused(context, { layers: [OWN], architecture: "s390x" }), /linux\/s390x/);
    assert.match(
      await refused(context, { layers: [OWN], mediaType: "application/x-cpio" }),
      /not known/,
    );
    assert.match(
      await attempt(() => writeFileSync(place.archive, "no tar at all")),
      /not a whole tar/,
    );
    assert.match(
      await attempt(() => writeFileSync(place.archive, Buffer.alloc(1024))),
      /lacks oci-layout/,
    );
    await writeImage(place.archive, { layers: [OWN] });
    const whole = readFileSync(place.archive);
    assert.match(
      await attempt(() => writeFileSync(place.archive, whole.subarray(0, whole.length / 2))),
      /refused/,
    );
    assert.match(await attempt(() => truncateSync(place.archive, 2_000_000_000)), /2 GB/);
    assert.deepEqual(readdirSync(place.store), []);
  });

  test("never writes outside, whatever names and links it is made of", async (context) => {
    const part = fc.constantFrom("a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", "c");
    const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
    const item = fc.record({
      name: path,
      type: fc.constantFrom("file", "directory", "symlink", "link"),
      linkname: fc.oneof(
        path,
        path.map((text) => `/${text}`),
      ),
      data: fc.constant("x"),
    });
    const place = aPlace(context);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(item, { maxLength: 6 }), { maxLength: 3 }),
        async (layers) => {
          await writeImage(place.archive, { layers: layers });
          await storeImage(place.archive, place.store, never).catch((error: { code?: string }) => {
            if (error.code !== "image_invalid") throw error;
          });
          assert.deepEqual(
            traces(place).filter((name) => !name.startsWith("deep/er/store/")),
            [],
          );
        },
      ),
      { numRuns: 60 },
    );
  });
});

suite("an image archive that is in order", () => {
  for (const compression of ["none", "gzip", "zstd"] as const) {
    test(`is unpacked layer by layer (${compression})`, async (context) => {
      const root = await unpacked(context, {
        compression,
        layers: [
          [
            ...OWN,
            { name: "gone", data: "x" },
            { name: "kept/old", data: "old" },
            { name: "emptied/old", data: "old" },
            { name: "emptied/sub/old", data: "old" },
            { name: "var/run", type: "symlink", linkname: "/run" },
            { name: "run/" },
          ],
          [
            { name: ".wh.gone", data: "" },
            { name: "kept/new", data: "new" },
            { name: "emptied/new", data: "new" },
            { name: "emptied/.wh..wh..opq", data: "" },
            { name: "var/run/pid", data: "1" },
            { name: "bin/sh", data: "#!/y", mode: 0o4755 },
            { name: "bin/copy", type: "link", linkname: "bin/sh" },
            { name: `long/${"n".repeat(200)}`, data: "long" },
            { name: "Ünïcode", data: "u" },
            { name: "dev/null", type: "character-device" },
          ],
        ],
      });

      assert.deepEqual(readdirSync(root).sort(), [
        "bin",
        "emptied",
        "kept",
        "long",
        "run",
        "var",
        "Ünïcode",
      ]);
      assert.deepEqual(readdirSync(join(root, "kept")).sort(), ["new", "old"]);
      assert.deepEqual(readdirSync(join(root, "emptied")), ["new"]);
      assert.equal(readFileSync(join(root, "run/pid"), "utf8"), "1");
      assert.equal(readlinkSync(join(root, "var/run")), "/run");
      assert.equal(readFileSync(join(root, "bin/copy"), "utf8"), "#!/y");
      assert.equal(lstatSync(join(root, "bin/sh")).mode & 0o7777, 0o555);
      assert.equal(lstatSync(join(root, "run/pid")).mode & 0o7777, 0o444);
    });
  }

  test("is found again by its digest, and unpacked anew when the store's copy was changed", async (context) => {
    const place = aPlace(context);
    await writeImage(place.archive, { layers: [OWN] });
    const all = await Promise.all(
      [1, 2, 3].map(() => storeImage(place.archive, place.store, never)),
    );
    assert.equal(new Set(all.map(({ dir }) => dir)).size, 1);
    const [first] = all;
    chmodSync(join(first?.dir ?? "", "rootfs/bin/sh"), 0o755);
    writeFileSync(join(first?.dir ?? "", "rootfs/bin/sh"), "evil");

    const again = await storeImage(place.archive, place.store, never);

    assert.equal(readFileSync(join(again.dir, "rootfs/bin/sh"), "utf8"), "#!/x");
    assert.deepEqual(
      readdirSync(place.store).filter((name) => name.startsWith(".")),
      [],
    );
  });
});
