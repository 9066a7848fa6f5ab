/** Tables: what is read, and every way in which one can be wrong. */
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { readCsv } from "../src/data/csv.js";
import type { Dataset } from "../src/data/dataset.js";
import { csvText, temporaryFolder, writeFiles } from "./helpers/data.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);

let files = 0;
function read(text: string, label = "kind", seed = 1): Dataset {
  const name = `${String(files++)}.csv`;
  writeFiles(temporary.path, { [name]: text });
  return readCsv({ file: join(temporary.path, name), label, seed });
}

function refusal(text: string, label?: string): string {
  try {
    read(text, label);
  } catch (error) {
    expect(error).toMatchObject({ name: "UsageError" });
    return (error as Error).message.replaceAll(/\S*[/\\]\d+\.csv/g, "FILE");
  }
  throw new Error("nothing was thrown");
}

/** Rows of a column each, with the classes x and y in turn. */
function rowsOf(...values: string[]): string {
  return ["a,kind", ...values.map((value, index) => `${value},${"xy"[index % 2]!}`)].join("\n");
}

describe("what is read", () => {
  test("columns, words for classes, and a fifth of each class as test set", () => {
    const dataset = read(csvText(150));
    expect(dataset).toMatchObject({ featureShape: [3], classes: ["blue", "green", "red"] });
    expect(dataset.train.labels).toHaveLength(120);
    expect(dataset.test.labels).toHaveLength(30);
    for (const label of [0, 1, 2]) {
      expect(dataset.test.labels.filter((value) => value === label)).toHaveLength(10);
    }
  });

  test("the training part has mean 0 and deviation 1 in each column, the test part nearly", () => {
    const { train, test: held } = read(csvText(150));
    const statistics = (features: ArrayLike<number>, column: number): [number, number] => {
      const values = Array.from(features).filter((_, index) => index % 3 === column);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      return [mean, Math.sqrt(squares / values.length)];
    };
    for (const column of [0, 1, 2]) {
      const [mean, deviation] = statistics(train.features, column);
      expect(mean).toBeCloseTo(0, 6);
      expect(deviation).toBeCloseTo(1, 6);
      const [heldMean] = statistics(held.features, column);
      expect(heldMean).not.toBe(0);
      expect(Math.abs(heldMean)).toBeLessThan(0.5);
    }
  });

  test("the seed chooses the rows that are held out", () => {
    const [first, again, other] = [1, 1, 2].map((seed) => read(csvText(150), "kind", seed));
    expect(again!.test.features).toEqual(first!.test.features);
    expect(other!.test.features).not.toEqual(first!.test.features);
  });

  test("a constant column becomes 0", () => {
    const text = ["a,b,kind", ...Array.from({ length: 10 }, (_, i) => `7,${i},${i % 2}`)].join(
      "\n",
    );
    const { train } = read(text);
    expect([...train.features].filter((_, index) => index % 2 === 0)).toEqual(
      Array.from({ length: 8 }, () => 0),
    );
  });

  test("classes that are numbers stand in the order of numbers; 1 and 1.0 are one class", () => {
    const text = [
      "a,kind",
      ...Array.from({ length: 30 }, (_, i) => `${i},${["10", "9", "1.0", "1"][i % 4]!}`),
    ].join("\n");
    expect(read(text).classes).toEqual(["1", "9", "10"]);
  });

  test("quotes, spaces, a byte-order mark, Windows line ends and empty lines", () => {
    const rows = Array.from({ length: 10 }, (_, i) => ` ${i} , "k, ${i % 2}"\r\n`);
    const dataset = read(`\ufeffa,"the kind"\r\n${rows.join("\r\n")}`, "the kind");
    expect(dataset.classes).toEqual(["k, 0", "k, 1"]);
  });

  test("the label column may be anywhere, numbers in any notation", () => {
    const rows = Array.from({ length: 10 }, (_, i) => `${"xy"[i % 2]!},${i}e-3,-.5`);
    expect(read(["kind,a,b", ...rows].join("\n")).featureShape).toEqual([2]);
  });
});

describe("what is refused", () => {
  test("a word among the numbers, with its line", () => {
    expect(refusal(rowsOf("1", "2", "three", "4"))).toBe(
      'FILE, line 4: column "a" has "three"; allowed is a finite number',
    );
  });

  test("an empty cell, NaN and infinity, with their lines", () => {
    expect(refusal(rowsOf("1", "", "3"))).toContain('line 3: column "a" has ""');
    expect(refusal(rowsOf("NaN", "2"))).toContain('line 2: column "a" has "NaN"');
    expect(refusal(rowsOf("1", "-Infinity"))).toContain('line 3: column "a" has "-Infinity"');
  });

  test("lines are those of the file, after empty lines and quoted line ends too", () => {
    expect(refusal('a,kind\n\n1,"x\nx"\n\nword,y\n')).toContain("line 6");
  });

  test("a label column that is not there", () => {
    expect(refusal(csvText(), "colour")).toBe(
      '--label: FILE has no column "colour"; it has "length", "width", "depth", "kind"',
    );
  });

  test("a class that is empty", () => {
    expect(refusal("a,kind\n1,x\n2,\n")).toBe('FILE, line 3: column "kind" is empty');
  });

  test("one class only", () => {
    expect(refusal("a,kind\n1,x\n2,x\n3,x\n")).toBe(
      'FILE: column "kind" is "x" everywhere; a classifier needs two classes or more',
    );
  });

  test("more classes than a classifier has", () => {
    const rows = Array.from({ length: 1001 }, (_, i) => `1,${i}`);
    expect(refusal(["a,kind", ...rows].join("\n"))).toContain("has 1001 classes; allowed are 1000");
  });

  test("rows of another length, and quotes that do not close, with their lines", () => {
    expect(refusal("a,b,kind\n1,2,x\n1,y\n")).toMatch(/FILE: is no table: .* line 3/);
    expect(refusal('a,kind\n1,"x\n')).toMatch(/FILE: is no table: .* line/);
  });

  test("a column twice, no columns, no rows, nothing", () => {
    expect(refusal("a,a,kind\n1,2,x\n")).toBe('FILE, line 1: the column "a" is there twice');
    expect(refusal("kind\nx\ny\n")).toBe("FILE: has no column beside kind");
    expect(refusal("a,kind\n")).toBe("FILE: has a header but no rows");
    expect(refusal("")).toBe("FILE: is empty; allowed is a header and rows");
  });

  test("too few rows for a test set", () => {
    expect(refusal(rowsOf("1", "2", "3", "4"))).toContain("a test set needs 5 or more of a class");
  });
});
