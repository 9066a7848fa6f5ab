/** The lines that the documentation gives for jax-js: run as they are printed, on a problem of least squares. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const root = fileURLToPath(new URL("../../../../", import.meta.url));

/** The first block of a page that makes `lars`. */
function linesIn(page: string): string {
  const blocks = readFileSync(`${root}${page}`, "utf8").matchAll(/^```[jt]s\n(.*?)^```$/gms);
  const block = [...blocks].find(([, source]) => source!.includes("= lars({"));
  if (block === undefined) throw new Error(`${page} has no block with lars`);
  return block[1]!;
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
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--input-type=module"], {
    cwd: root,
    input: `${before}\n${linesIn(page)}\n${after}`,
    encoding: "utf8",
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const [first, last] = stdout.trim().split("\n").map(Number);
  expect(last).toBeLessThan(first!);
});
