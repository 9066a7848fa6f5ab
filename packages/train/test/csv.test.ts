/** Tables: what is read, and every way in which one can be wrong. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { readCsv } from "../src/data/csv.js";
import { fingerprint } from "../src/data/dataset.js";
import type { Dataset } from "../src/data/dataset.js";
import { DEFAULT_FORMAT, checkDelimiter } from "../src/data/table-format.js";
import type { TableFormat } from "../src/data/table-format.js";
import { TableValues } from "../src/data/table-values.js";
import { csvText, temporaryFolder, writeFiles } from "./helpers/data.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);

let files = 0;
function write(text: string | Uint8Array): string {
  const name = `${String(files++)}.csv`;
  writeFiles(temporary.path, { [name]: text });
  return join(temporary.path, name);
}

function read(
  text: string | Uint8Array,
  label = "kind",
  options: { seed?: number; format?: Partial<TableFormat> } = {},
): Dataset {
  const { seed = 1, format = {} } = options;
  return readCsv({ file: write(text), label, seed, format: { ...DEFAULT_FORMAT, ...format } });
}

function refusal(
  text: string | Uint8Array,
  label?: string,
  format: Partial<TableFormat> = {},
): string {
  try {
    read(text, label, { format });
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
    const [first, again, other] = [1, 1, 2].map((seed) => read(csvText(150), "kind", { seed }));
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
      'FILE, line 4: expected a finite number in column "a", got "three"',
    );
  });

  test("an empty cell, NaN and infinity, with their lines", () => {
    expect(refusal(rowsOf("1", "", "3"))).toContain(
      'line 3: expected a finite number in column "a", got ""',
    );
    expect(refusal(rowsOf("NaN", "2"))).toContain(
      'line 2: expected a finite number in column "a", got "NaN"',
    );
    expect(refusal(rowsOf("1", "-Infinity"))).toContain(
      'line 3: expected a finite number in column "a", got "-Infinity"',
    );
  });

  test("lines are those of the file, after empty lines and quoted line ends too", () => {
    expect(refusal('a,kind\n\n1,"x\nx"\n\nword,y\n')).toContain("line 6");
  });

  test("a label column that is not there", () => {
    expect(refusal(csvText(), "colour")).toBe(
      '--label: expected a column of FILE, "length", "width", "depth", "kind", got "colour"',
    );
  });

  test("a class that is empty", () => {
    expect(refusal("a,kind\n1,x\n2,\n")).toBe(
      'FILE, line 3: expected a class in column "kind", got ""',
    );
  });

  test("one class only", () => {
    expect(refusal("a,kind\n1,x\n2,x\n3,x\n")).toBe(
      'FILE: expected two classes or more in column "kind", got "x" everywhere',
    );
  });

  test("more classes than a classifier has", () => {
    const rows = Array.from({ length: 1001 }, (_, i) => `1,${i}`);
    expect(refusal(["a,kind", ...rows].join("\n"))).toContain(
      'expected at most 1000 classes in column "kind", got 1001',
    );
  });

  test("rows of another length, and quotes that do not close, with their lines", () => {
    expect(refusal("a,b,kind\n1,2,x\n1,y\n")).toBe("FILE, line 3: expected 3 cells, got 2");
    expect(refusal('a,kind\n1,"x\n')).toMatch(/FILE, line \d: expected cells with closed quotes/);
  });

  test("a column twice, no columns, no rows, nothing", () => {
    expect(refusal("a,a,kind\n1,2,x\n")).toBe(
      'FILE, line 1: expected each column once, got "a" twice',
    );
    expect(refusal("kind\nx\ny\n")).toBe("FILE, line 1: expected two columns or more, got one");
    expect(refusal("a,kind\n")).toBe("FILE: expected rows below the header, got none");
    expect(refusal("")).toBe("FILE: expected rows, got an empty file");
  });

  test("too few rows for a test set", () => {
    expect(refusal(rowsOf("1", "2", "3", "4"))).toContain(
      "expected 5 rows or more of a class for a test set",
    );
  });
});

describe("values that would be silently wrong are refused", () => {
  test("numbers that float32 can't hold", () => {
    expect(refusal(rowsOf("1", "3.5e38"))).toContain(
      "line 3: expected a number of at most 3.40e+38",
    );
    expect(read(rowsOf(...Array.from({ length: 10 }, (_, i) => `${i}e37`))).classes).toHaveLength(
      2,
    );
  });

  test("classes that would merge, with the lines of both", () => {
    expect(refusal("a,kind\n1,7\n2,8\n3,007\n")).toBe(
      'FILE, line 4: expected one spelling of a class in column "kind", got "007" after "7" in line 2',
    );
    expect(refusal("a,kind\n1,7\n2,9007199254740993\n")).toContain(
      'line 3: expected a class below 2^53 or a word in column "kind", got "9007199254740993"',
    );
  });

  test("bytes that are not UTF-8, with their line, in the first block and in a later one", () => {
    const bad = Uint8Array.of(...Buffer.from("a,kind\n1,x\n2,"), 0xe9, ...Buffer.from("\n3,y\n"));
    expect(refusal(bad)).toBe("FILE, line 3: expected text in UTF-8, got other bytes");
    const many = Buffer.from(`a,kind\n${"1,é\n".repeat(100_000)}`);
    expect(refusal(Buffer.concat([many, Uint8Array.of(0xc3), Buffer.from(",é\n")]))).toContain(
      "line 100002: expected text in UTF-8",
    );
  });

  test("too many values, before they take memory", () => {
    const columns = 2 ** 20;
    expect(() => new TableValues(columns).addRow("FILE")).not.toThrow();
    expect(() => new TableValues(2 ** 28 + 1).addRow("FILE")).toThrow("FILE: expected at most");
  });
});

describe("options of the format", () => {
  const rows = Array.from({ length: 10 }, (_, i) => [`${i}`, `${i * 2}`, "xy"[i % 2]!]);

  test("a delimiter, and a hint where it is another", () => {
    const text = ["a;b;kind", ...rows.map((row) => row.join(";"))].join("\n");
    expect(read(text, "kind", { format: { delimiter: ";" } }).featureShape).toEqual([2]);
    expect(refusal(text)).toBe(
      'FILE, line 1: expected "," between cells, got ";" (--delimiter ";")',
    );
    expect(refusal(text.replaceAll(";", "\t"))).toContain("got tabs (--delimiter tab)");
    expect(checkDelimiter("--delimiter", "tab")).toBe("\t");
    for (const wrong of ["", ";;", "a", "1", '"', " ", ".", 3]) {
      expect(() => checkDelimiter("--delimiter", wrong)).toThrow(
        "--delimiter: expected one character",
      );
    }
  });

  test("a table without a header is the same one, with its label by number", () => {
    const body = rows.map((row) => row.join(",")).join("\n");
    const bare = read(body, "3", { format: { header: false } });
    expect(fingerprint(bare)).toBe(fingerprint(read(`a,b,kind\n${body}`)));
    expect(refusal(body, "4", { header: false })).toContain("expected a column number from 1 to 3");
    expect(refusal(`${body}\nz,1,x`, "3", { header: false })).toContain(
      'line 11: expected a finite number in column 1, got "z"',
    );
  });

  test("missing values become the mean of the training rows, which is 0", () => {
    const texts = ["", "NA", "NaN", "?"];
    const text = [
      "a,b,kind",
      ...Array.from({ length: 40 }, (_, i) => `${i},${texts[i] ?? String(i)},${"xy"[i % 2]!}`),
    ].join("\n");
    const { train, test: held } = read(text, "kind", { format: { missing: "mean" } });
    const filled = [...train.features, ...held.features].filter(
      (value, i) => i % 2 === 1 && value === 0,
    );
    expect(filled).toHaveLength(4);
    const column = [...train.features].filter((_, i) => i % 2 === 1);
    expect(column.reduce((sum, value) => sum + value, 0) / column.length).toBeCloseTo(0, 6);
    expect(refusal(text)).toContain("(--missing mean fills missing values)");
  });

  test("a column without a value and a missing class are not filled", () => {
    const format = { missing: "mean" } as const;
    expect(refusal(rowsOf(...Array<string>(10).fill("?")), "kind", format)).toContain(
      'column "a": expected a value in a training row',
    );
    expect(refusal("a,kind\n1,x\n2,NA\n", "kind", format)).toContain("line 3: expected a class");
  });

  test("a gzipped table is the same table", () => {
    expect(fingerprint(read(gzipSync(csvText())))).toBe(fingerprint(read(csvText())));
  });
});

test("a constant column whose mean is rounded becomes 0", () => {
  const text = ["a,b,kind", ...Array.from({ length: 30 }, (_, i) => `0.1,${i},${i % 2}`)];
  const { train } = read(text.join("\n"));
  expect([...train.features].every((value, i) => i % 2 === 1 || value === 0)).toBe(true);
});

test("a table keeps the fingerprint that it had in version 0.1", () => {
  expect(fingerprint(read(csvText(150)))).toBe(
    "b0d0002d449b71fcf42b6022b75758a625ab54af163a196f6c23de9234f27f70",
  );
});

test("any spelling of a table reads as the same table", () => {
  const cell = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e30, max: 1e30 });
  fc.assert(
    fc.property(
      fc.record({
        rows: fc.array(fc.tuple(cell, cell), { minLength: 10, maxLength: 60 }),
        end: fc.constantFrom("\n", "\r\n", "\r"),
        delimiter: fc.constantFrom(",", ";", "\t", "|"),
        bom: fc.boolean(),
        // Quotes go through another reader than cells without them.
        quote: fc.func(fc.boolean()),
        label: fc.constantFrom("k", "a b", "é", 'q"q', "p,;|p", "l\nl"),
        // Empty lines move rows across the borders of blocks.
        blankLines: fc.constantFrom(0, 2 ** 18 - 40, 2 ** 18 - 7),
      }),
      ({ rows, end, delimiter, bom, quote, label, blankLines }) => {
        const classes = [label, "other"];
        const spell = (text: string): string =>
          quote(text) || /["\n,;|]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
        const lines = [
          ["a", "b", "kind"],
          ...rows.map(([a, b], i) => [String(a), String(b), classes[i % 2]!]),
        ].map((cells) => cells.map(spell).join(delimiter));
        lines.splice(1, 0, "\n".repeat(end === "\n" ? blankLines : 0));
        const text = `${bom ? "\ufeff" : ""}${lines.join(end)}${end}`;
        const dataset = read(text, "kind", { format: { delimiter } });
        expect(dataset.classes).toEqual([...classes].sort());
        const plain = [
          "a,b,kind",
          ...rows.map(
            ([a, b], i) => `${a},${b},${"01"[dataset.classes.indexOf(classes[i % 2]!)]!}`,
          ),
        ];
        const expected = read(plain.join("\n"));
        expect(dataset.train).toEqual(expected.train);
        expect(dataset.test).toEqual(expected.test);
      },
    ),
    { numRuns: 60 },
  );
});

test("a table that is larger than the heap is read", () => {
  // 40 MB of two columns: as strings they would take ten times as much.
  const file = write(`a,kind\n${"1.25,x\n2.5,y\n0.0000000000000000000000001,y\n".repeat(900_000)}`);
  const script = `import { tableRows } from ${JSON.stringify(new URL("../dist/data/table-rows.js", import.meta.url).href)};
    let rows = 0;
    for (const { cells } of tableRows(${JSON.stringify(file)}, ",")) rows += cells.length / 2;
    console.log(rows);`;
  const output = execFileSync(process.execPath, [
    "--max-old-space-size=24",
    "--input-type=module",
    "-e",
    script,
  ]);
  expect(output.toString().trim()).toBe("2700001");
});
