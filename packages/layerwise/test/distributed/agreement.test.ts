/** What processes must have alike, on four threads of which one differs. */
import { describe, expect, it } from "vitest";
import { agreeOnJob, shownRanks } from "../../src/distributed/agreement.js";
import { localCollective } from "../../src/distributed/local.js";
import { VERSION } from "../../src/version.js";
import { cases } from "./agreement/cases.js";
import { ranksOf } from "./ranks/run-on-ranks.js";

const ranks = await ranksOf<null, (string | null)[]>(
  new URL("agreement/cases.ts", import.meta.url),
);
const errors = await ranks.run(4, null);
await ranks.dispose();

describe("a job of four ranks, of which one differs by", () => {
  it.each(cases.map(({ name, error }, index) => ({ name, error, index })))(
    "$name",
    ({ error, index }) => {
      expect(errors.map((ofRank) => ofRank[index])).toEqual([error, error, error, error]);
    },
  );
});

describe("versions", () => {
  it("that differ are refused on every rank", async () => {
    const other = await ranksOf<null, (string | null)[]>(
      new URL("agreement/cases.ts", import.meta.url),
      [undefined, undefined, "99.1.2"],
    );
    const errors = await other.run(3, null);
    await other.dispose();
    const error = `Error: rank 2: layerwise: expected version ${VERSION}, as on rank 0, got 99.1.2`;
    expect(errors.map(([first]) => first)).toEqual([error, error, error]);
  });
});

describe("instruction sets", () => {
  it("that differ are said once, on rank 0", async () => {
    const unlike = await ranksOf<null, string[]>(
      new URL("agreement/instruction-sets.ts", import.meta.url),
    );
    const warnings = await unlike.run(3, null);
    await unlike.dispose();
    expect(warnings.slice(1)).toEqual([[], []]);
    expect(warnings[0]).toEqual([
      expect.stringMatching(
        /^layerwise: the processors of this job differ: relaxed SIMD with(out)? fused multiply-add on ranks 0 and 2; no relaxed SIMD on rank 1\. /,
      ),
    ]);
  });
});

describe("a process alone", () => {
  it("throws its own error", () => {
    const error = new RangeError("wrong");
    expect(() => {
      agreeOnJob(localCollective(), () => {
        throw error;
      });
    }).toThrow(error);
  });
});

describe("shownRanks", () => {
  it.each([
    [[3], "rank 3"],
    [[0, 1], "ranks 0 and 1"],
    [[0, 2], "ranks 0 and 2"],
    [[1, 2, 3], "ranks 1 to 3"],
    [[0, 2, 3], "ranks 0, 2 and 3"],
    [[0, 2, 4, 5, 6, 7], "ranks 0, 2 and 4 to 7"],
  ])("of %j: %s", (list, text) => {
    expect(shownRanks(list)).toBe(text);
  });
});
