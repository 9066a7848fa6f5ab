/** The lines that the documentation gives to swap an optimizer: run as they are printed, around a model that falls to them. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** The first block of a page that makes the classes. */
function swapIn(page: string): string {
  const blocks = [...readFileSync(`${root}${page}`, "utf8").matchAll(/^```js\n(.*?)^```$/gms)];
  const block = blocks.find(([, source]) => source!.includes("createLars(tf)"));
  if (block === undefined) throw new Error(`${page} has no block with createLars(tf)`);
  return block[1]!;
}

/** Before it, the model that a reader has; after it, what the reader does next. Imports may stand anywhere. */
const program = (swap: string): string => `
  const kernelInitializer = tf.initializers.glorotUniform({ seed: 1 });
  const model = tf.sequential({
    layers: [tf.layers.dense({ inputShape: [4], units: 3, activation: "softmax", kernelInitializer })],
  });
  ${swap}
  const x = tf.randomUniform([64, 4], -1, 1, "float32", 1);
  const y = tf.oneHot(tf.argMax(tf.slice(x, [0, 0], [64, 3]), 1), 3);
  const { history } = await model.fit(x, y, { epochs: 30, shuffle: false, verbose: 0 });
  console.log(JSON.stringify(history.loss));
`;

describe("the lines that swap the optimizer", () => {
  it.each(["README.md", "docs/tfjs.md", "docs/migrating.md"])("in %s train a model", (page) => {
    const { stdout, status, stderr } = spawnSync(process.execPath, ["--input-type=module"], {
      cwd: fileURLToPath(new URL("..", import.meta.url)),
      input: program(swapIn(page)),
      encoding: "utf8",
    });
    expect(status, stderr).toBe(0);
    const losses = JSON.parse(stdout.trim().split("\n").at(-1)!) as number[];
    expect(losses.at(-1)).toBeLessThan(0.8 * losses[0]!);
  });
});
