/** The lines that the documentation gives for jax-js: run as they are printed, on a problem of least squares. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const root = fileURLToPath(new URL("../../../../", import.meta.url));

/** The first block of a page that has this text. */
function linesIn(page: string, text = "= lars({"): string {
  const blocks = readFileSync(`${root}${page}`, "utf8").matchAll(/^```[jt]s\n(.*?)^```$/gms);
  const block = [...blocks].find(([, source]) => source!.includes(text));
  if (block === undefined) throw new Error(`${page} has no block with ${text}`);
  return block[1]!;
}

/** What a program prints. */
function output(program: string): string[] {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--input-type=module"], {
    cwd: root,
    input: program,
    encoding: "utf8",
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout.trim().split("\n");
}

/** What a reader has: parameters, data and a loss. The names of imports are those that the lines leave out. */
const problem = (missing: string): string => `
  import { ${missing} numpy as np } from "@jax-js/jax";
  await init("wasm");
  const loss = (params, x, y) => np.square(np.dot(x, params).sub(y)).mean();
  const data = [np.array([[1, 2], [3, -1], [-2, 1], [1, 1]]), np.array([5, 1, 0, 3])];
  let params = np.array([0.1, 0.1]);
  const [x, y] = data.map((values) => values.ref);
  const print = () => console.log(loss(params.ref, ...data.map((values) => values.ref)).item());
  print();
`;

it.each([
  {
    page: "docs/jax.md",
    before: problem(""),
    after: `
      for (let i = 0; i < 200; i++) [params, state] = step(params, state, ...data.map((values) => values.ref));
      print();`,
  },
  {
    page: "README.md",
    before: `${problem("grad, init, tree,")}
      let updates;
      const gradients = grad(loss)(params.ref, x, y);`,
    after: "print();",
  },
])("the lines in $page make the loss fall", ({ page, before, after }) => {
  const [first, last] = output(`${before}\n${linesIn(page)}\n${after}`).map(Number);
  expect(last).toBeLessThan(first!);
});

const steps = (count: number): string => `
  for (let i = 0; i < ${count}; i++) [params, state] = step(params, state, ...data.map((values) => values.ref));
  print();`;

it("the lines that save and restore go on where they were, in docs/jax.md", () => {
  const page = "docs/jax.md";
  const start = `${problem("")}\n${linesIn(page)}\n${steps(20)}`;
  const again = `
    import { decodeState, encodeState } from "layerwise/jax";
    ${linesIn(page, "encodeState(")}
    ${steps(20)}`;
  const [, before, after] = output(`${start}\n${again}`).map(Number);
  const [, , straight] = output(`${start}\n${steps(20)}`).map(Number);
  expect(after).toBe(straight);
  expect(after).toBeLessThan(before!);
});

it("the pieces in docs/jax.md make the loss fall", () => {
  const names = [
    ...["addDecayedWeights", "applyUpdates", "chain", "scaleByLearningRate"],
    ...["scaleByTrustRatio", "skipNonFinite", "trace"],
  ];
  const program = `${problem("grad, init,")}
    import { ${names.join()} } from "layerwise/jax";
    ${linesIn("docs/jax.md", "const pieces")}
    let state = pieces.init(params.ref);
    let updates;
    for (let i = 0; i < 50; i++) {
      const gradients = grad(loss)(params.ref, ...data.map((values) => values.ref));
      [updates, state] = pieces.update(gradients, state, params.ref);
      params = applyUpdates(params, updates);
      params.ref.dataSync(); // Without jit nothing is computed before it is read.
    }
    print();`;
  const [first, last] = output(program).map(Number);
  expect(last).toBeLessThan(first!);
});
