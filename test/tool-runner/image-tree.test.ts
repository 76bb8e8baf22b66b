import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ImageTree, type LayerEntry } from "../../src/tool-runner/image-tree.ts";

function entry(name: string, kind: LayerEntry["kind"] = "file"): LayerEntry {
  return { name, kind, target: "", executable: false, content: 0, bytes: 0 };
}

suite("the tree of an image's layers", () => {
  test("counts directories that no entry names, so that few long paths cannot fill the memory", () => {
    const tree = new ImageTree("bomb.tar");
    tree.nextLayer();
    const below = "/d".repeat(1000);
    const fill = (): void => {
      for (let index = 0; index < 1000; index += 1) tree.add(entry(`${index}${below}/file`));
    };

    assert.throws(fill, { code: "image_invalid" });
  });

  test("hides what lower layers hold once, however often a layer says so", () => {
    const tree = new ImageTree("bomb.tar");
    tree.nextLayer();
    for (let index = 0; index < 50_000; index += 1) tree.add(entry(`lower/${index}`));
    tree.nextLayer();
    for (let index = 0; index < 50_000; index += 1) tree.add(entry(`lower/new-${index}`));
    const from = performance.now();

    for (let index = 0; index < 50_000; index += 1) tree.add(entry("lower/.wh..wh..opq"));

    assert.equal(tree.topOf(["lower"]).length, 50_000);
    assert.equal(
      tree.topOf(["lower"]).every((name) => name.startsWith("new-")),
      true,
    );
    // One look at all of it for each takes minutes.
    assert.ok(performance.now() - from < 10_000);
  });
});
