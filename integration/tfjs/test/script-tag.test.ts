/** The page of the documentation that has no bundler: as it is printed, with the files that a CDN would serve. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hasBrowser, startChromium } from "./chromium.js";
import type { Chromium } from "./chromium.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const CDN = "https://cdn.jsdelivr.net/npm/";

function printedPage(): string {
  const [, html] = /^```html\n(.*?)^```$/ms.exec(readFileSync(`${root}docs/tfjs.md`, "utf8")) ?? [];
  if (html === undefined) throw new Error("docs/tfjs.md has no page");
  return html;
}

/** What npm publishes at an address of the CDN. */
function published(address: string): string {
  if (address === `${CDN}@tensorflow/tfjs@4`) {
    return `${root}integration/tfjs/node_modules/@tensorflow/tfjs/dist/tf.min.js`;
  }
  return address.replace(`${CDN}layerwise/`, `${root}packages/layerwise/`);
}

describe.skipIf(!hasBrowser("script-tag.test.ts"))("in Chromium", () => {
  let chromium: Chromium;

  beforeAll(async () => {
    chromium = await startChromium();
  });

  afterAll(() => chromium.close());

  it("the page without a bundler trains a model", async () => {
    const page = await chromium.blank();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.route(`${CDN}**`, (route) =>
      route.fulfill({
        path: published(route.request().url()),
        contentType: "text/javascript",
        headers: { "Access-Control-Allow-Origin": "*" },
      }),
    );
    const after = `
      const x = tf.randomUniform([64, 4], -1, 1, "float32", 1);
      const y = tf.oneHot(tf.argMax(tf.slice(x, [0, 0], [64, 3]), 1), 3);
      model.setWeights([tf.randomUniform([4, 3], -1, 1, "float32", 2), tf.zeros([3])]);
      globalThis.losses = model
        .fit(x, y, { epochs: 20, shuffle: false, verbose: 0 }).then(({ history }) => history.loss);
    </script>`;
    await page.setContent(printedPage().replace(/<\/script>\s*$/, after));
    await page.waitForFunction("globalThis.losses !== undefined");
    const losses = await page.evaluate<number[]>("globalThis.losses");
    expect(errors).toEqual([]);
    expect(losses.at(-1)).toBeLessThan(0.8 * losses[0]!);
    await page.close();
  });
});
