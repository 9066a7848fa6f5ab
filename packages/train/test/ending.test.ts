/** However a run ends, it says so in a line, with the right exit code, and can go on. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { endWith } from "../src/ending.js";
import { TrainingError, UsageError, WriteError } from "../src/errors.js";
import { readResult } from "../src/sweep/run-cell.js";
import { runCli, runShell, startCli, until } from "./helpers/cli.js";
import type { Outcome } from "./helpers/cli.js";
import { csvText, temporaryFolder, writeFiles } from "./helpers/data.js";
import { checkpointHashes, leftovers, metricsOf, mountDisk } from "./helpers/folders.js";
import { childrenOf, running } from "./helpers/processes.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);
writeFiles(temporary.path, { "points.csv": csvText() });
const data = ["--data", join(temporary.path, "points.csv"), "--label", "kind", "--hidden", "8"];
const small = [...data, "--optimizer", "sgd,lars8bit", "--lr", "0.2", "--workers", "1"];
const options = [...small, "--epochs", "6"];
/** Long enough to be there when it is stopped. */
const long = [...small, "--epochs", "50000"];

let folders = 0;
const newPath = (): string => join(temporary.path, `run${++folders}`);

const whole = newPath();
beforeAll(async () => {
  expect(await runCli([...options, "--out", whole])).toMatchObject({ code: 0, stderr: "" });
});

function expectSame(folder: string): void {
  expect(metricsOf(folder)).toEqual(metricsOf(whole));
  expect(checkpointHashes(folder)).toEqual(checkpointHashes(whole));
}

/** A single line, which begins with the program. */
function expectOneLine({ stderr }: Outcome): void {
  expect(stderr).toMatch(/^layerwise-train: [^\n]+: [^\n]+\n$/);
}

function hasMetrics(folder: string): boolean {
  const file = join(folder, "metrics.jsonl");
  return existsSync(file) && readFileSync(file).length > 0;
}

describe("a signal", () => {
  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("%s ends a run with exit code %i, which says how to go on", async (signal, code) => {
    const folder = newPath();
    const { child, outcome } = startCli([...long, "--out", folder]);
    await until(() => hasMetrics(folder) || child.exitCode !== null);
    child.kill(signal);
    const ended = await outcome;
    expect(ended.code).toBe(code);
    expect(ended.stderr).toBe(
      `stopped by ${signal}; continue with: layerwise-train --resume ${folder}\n`,
    );
    expect(leftovers(folder)).toEqual([]);
  });

  test("ends a sweep and its cells, and the sweep goes on", async () => {
    const folder = join(temporary.path, "a sweep");
    const args = [
      "sweep",
      ...data,
      "--optimizer",
      "sgd",
      "--batch-size",
      "40,60",
      "--lr",
      "0.1,0.2",
    ];
    const { child, outcome } = startCli([
      ...args,
      "--epochs",
      "20",
      "--jobs",
      "2",
      "--out",
      folder,
    ]);
    const cells = (): number[] => childrenOf(child.pid!);
    await until(() => cells().length === 2 || child.exitCode !== null);
    const pids = cells();
    expect(pids).toHaveLength(2);
    child.kill("SIGINT");
    const ended = await outcome;
    expect(ended.code).toBe(130);
    expect(ended.stderr).toBe(
      `stopped by SIGINT; continue with: layerwise-train sweep --resume '${folder}'\n`,
    );
    await expect.poll(() => running(pids), { timeout: 30_000 }).toEqual([]);
    expect(existsSync(join(folder, "lock"))).toBe(false);
    expect(await runCli(["sweep", "--resume", folder])).toMatchObject({ code: 0, stderr: "" });
    expect(leftovers(folder)).toEqual([]);
  });
});

describe("output that can't be written", () => {
  test("a reader that leaves ends the run quietly, with exit code 141; it goes on", async () => {
    const folder = newPath();
    const script = '"$@" | head -1; echo "${PIPESTATUS[@]}"';
    const outcome = await runShell(script, [...options, "--out", folder]);
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(outcome.stdout).toMatch(/^data: [^\n]*\n141 0\n$/);
    expect(leftovers(folder)).toEqual([]);
    expect(await runCli(["--resume", folder])).toMatchObject({ code: 0, stderr: "" });
    expectSame(folder);
  });

  test("so does a reader of errors", async () => {
    // The reader has left before anything is written.
    const script = '{ sleep 0.2; "$@"; echo $? >&3; } 2>&1 >/dev/null 3>&4 | true';
    const outcome = await runShell(`{ ${script}; } 4>&1`, ["--lr", "fast"]);
    expect(outcome).toMatchObject({ code: 0, stderr: "", stdout: "141\n" });
  });

  test.runIf(existsSync("/dev/full"))("a full disk is told", async () => {
    const outcome = await runShell('"$@" >/dev/full', ["--help"]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain("layerwise-train: output: ENOSPC");
    expectOneLine(outcome);
  });
});

describe("a disk that is full", () => {
  /** Exit code 2 before training, 1 after; one line, and nothing half written. */
  function expectFull(outcome: Outcome, folder: string): void {
    expect([1, 2]).toContain(outcome.code);
    expectOneLine(outcome);
    expect(outcome.stderr).toMatch(/(ENOSPC|EFBIG): /);
    if (outcome.code === 1) {
      expect(outcome.stderr).toContain(`; continue with: layerwise-train --resume ${folder}\n`);
    }
    expect(leftovers(folder)).toEqual([]);
  }

  // In KB. The config has less than 1, a checkpoint 2, the metrics 40, the report 80.
  test.each([0, 1, 4, 32])("files of at most %i KB", async (size) => {
    const folder = newPath();
    const outcome = await runShell(`ulimit -f ${size}; exec "$@"`, [...options, "--out", folder]);
    expectFull(outcome, folder);
    expect(outcome.code).toBe(size === 0 ? 2 : 1);
    if (outcome.code === 2) return;
    expect(await runCli(["--resume", folder])).toMatchObject({ code: 0, stderr: "" });
    expectSame(folder);
  });

  test.each([4, 16, 48, 128])("a disk of %i KB", async (size) => {
    const path = newPath();
    const disk = mountDisk(path, `size=${size}k`);
    if (disk === null) return;
    try {
      const folder = join(path, "run");
      const outcome = await runCli([...options, "--out", folder]);
      expectFull(outcome, folder);
      execFileSync("mount", ["-o", "remount,size=10m", path]);
      const again = outcome.code === 1 ? ["--resume", folder] : [...options, "--out", folder];
      expect(await runCli(again)).toMatchObject({ code: 0, stderr: "" });
      expectSame(folder);
    } finally {
      disk.unmount();
    }
  });

  test("a sweep ends too, with the cells that run, and goes on", async () => {
    const path = newPath();
    const disk = mountDisk(path, "size=128k");
    if (disk === null) return;
    try {
      const folder = join(path, "sweep");
      const args = [
        "sweep",
        ...data,
        "--optimizer",
        "sgd",
        "--batch-size",
        "40",
        "--lr",
        "0.1,0.2",
      ];
      const outcome = await runCli([...args, "--epochs", "6", "--jobs", "2", "--out", folder]);
      expect(outcome.code).toBe(1);
      expect(outcome.stderr).toContain("ENOSPC");
      expect(outcome.stderr).not.toContain("    at ");
      expect(leftovers(folder)).toEqual([]);
      execFileSync("mount", ["-o", "remount,size=10m", path]);
      expect(await runCli(["sweep", "--resume", folder])).toMatchObject({ code: 0, stderr: "" });
    } finally {
      disk.unmount();
    }
  });
});

test("what a cell has found is read from a disk that takes nothing more", () => {
  const path = newPath();
  const disk = mountDisk(path, "size=1m");
  if (disk === null) return;
  try {
    const folder = join(path, "run");
    cpSync(whole, folder, { recursive: true });
    execFileSync("mount", ["-o", "remount,ro", path]);
    const cell = {
      optimizer: "sgd",
      batchSize: 40,
      lr: 0.2,
      maxGradNorm: null,
      seed: 1,
      holdOut: false,
    } as const;
    expect(readResult(cell, folder)).toMatchObject({ ...cell, diverged: false, searched: false });
  } finally {
    disk.unmount();
  }
});

describe("a folder that can't be written: exit code 2", () => {
  test("read-only, for a new run and for one that goes on", async () => {
    const path = newPath();
    // root may write everywhere but on a disk that is read-only.
    const disk = process.getuid?.() === 0 ? mountDisk(path, "size=1m") : null;
    mkdirSync(path, { recursive: true });
    cpSync(whole, join(path, "run"), { recursive: true });
    if (disk === null) for (const name of [".", "run"]) chmodSync(join(path, name), 0o555);
    else execFileSync("mount", ["-o", "remount,ro", path]);
    try {
      for (const args of [
        [...options, "--out", join(path, "new")],
        ["--resume", join(path, "run")],
      ]) {
        const outcome = await runCli(args);
        expect(outcome).toMatchObject({ code: 2, stdout: "" });
        expectOneLine(outcome);
      }
    } finally {
      if (disk === null) for (const name of [".", "run"]) chmodSync(join(path, name), 0o755);
      else disk.unmount();
    }
  });

  test("a file in its place, or above it", async () => {
    const file = join(temporary.path, "points.csv");
    for (const out of [file, join(file, "run")]) {
      const outcome = await runCli([...options, "--out", out]);
      expect(outcome).toMatchObject({ code: 2, stdout: "" });
      expectOneLine(outcome);
    }
  });
});

/** Something that is no file of a run, at its place. */
const STRANGERS: [string, (file: string) => void][] = [
  [
    "a FIFO",
    (file) => {
      execFileSync("mkfifo", [file]);
    },
  ],
  [
    "a folder",
    (file) => {
      mkdirSync(file);
    },
  ],
  [
    "nothing at all",
    (file) => {
      writeFileSync(file, "");
    },
  ],
  [
    "other bytes",
    (file) => {
      writeFileSync(file, Buffer.alloc(100_000, "\u0000\u00ff{"));
    },
  ],
  [
    "other JSON",
    (file) => {
      writeFileSync(file, '{"format":"other"}\n'.repeat(2000));
    },
  ],
];

describe("a run with a damaged file is refused: exit code 2", () => {
  const FILES = ["config.json", "metrics.jsonl", "checkpoints/sgd.safetensors"];

  test.each(FILES.flatMap((file) => STRANGERS.map(([what, make]) => [file, what, make] as const)))(
    "%s: %s",
    async (name, _, make) => {
      const folder = newPath();
      cpSync(whole, folder, { recursive: true });
      const file = join(folder, name);
      rmSync(file);
      make(file);
      const outcome = await runCli(["--resume", folder]);
      expect(outcome.code).toBe(2);
      expectOneLine(outcome);
      expect(outcome.stderr).toContain(file);
      expect(leftovers(folder)).toEqual([]);
    },
  );

  test.each(FILES)("%s is cut at any place", async (name) => {
    const folder = newPath();
    cpSync(whole, folder, { recursive: true });
    const file = join(folder, name);
    const bytes = readFileSync(file);
    for (const part of [0.01, 0.5, 0.99]) {
      writeFileSync(file, bytes.subarray(0, Math.floor(part * bytes.length)));
      const outcome = await runCli(["--resume", folder]);
      expect(outcome.code).toBe(2);
      expectOneLine(outcome);
      expect(outcome.stderr).toContain(file);
    }
    expect(leftovers(folder)).toEqual([]);
  });

  test("metrics.jsonl is missing", async () => {
    const folder = newPath();
    cpSync(whole, folder, { recursive: true });
    rmSync(join(folder, "metrics.jsonl"));
    const outcome = await runCli(["--resume", folder]);
    expect(outcome.code).toBe(2);
    expectOneLine(outcome);
  });

  test("what a kill has left of files that were being written is removed", async () => {
    const folder = newPath();
    cpSync(whole, folder, { recursive: true });
    for (const name of ["config.json", "report.html", "checkpoints/sgd.safetensors"]) {
      writeFileSync(join(folder, `${name}.partial`), "{");
    }
    expect(await runCli(["--resume", folder])).toMatchObject({ code: 0, stderr: "" });
    expect(leftovers(folder)).toEqual([]);
  });
});

describe("data that is no file: exit code 2", () => {
  test.each<[string, (file: string) => void]>([
    STRANGERS[0]!,
    [
      "a device",
      (file) => {
        execFileSync("ln", ["-s", "/dev/zero", file]);
      },
    ],
  ])("%s", async (_, make) => {
    const folder = newPath();
    mkdirSync(folder);
    const file = join(folder, "points.csv");
    make(file);
    const outcome = await runCli(["--data", file, "--label", "kind", "--out", newPath()]);
    expect(outcome).toMatchObject({ code: 2, stdout: "" });
    expectOneLine(outcome);
  });
});

describe("what is printed for an error", () => {
  const ended = (error: unknown): { code: number; lines: string[] } => {
    const print = vi.spyOn(console, "error").mockImplementation(() => undefined);
    try {
      return { code: endWith(error), lines: print.mock.calls.map(([line]) => String(line)) };
    } finally {
      print.mockRestore();
    }
  };

  test("usage, training, writing", () => {
    expect(ended(new UsageError("a: b"))).toEqual({ code: 2, lines: ["layerwise-train: a: b"] });
    expect(ended(new WriteError("a: b"))).toEqual({ code: 1, lines: ["layerwise-train: a: b"] });
    expect(ended(new TrainingError("was told"))).toEqual({ code: 1, lines: [] });
  });

  test("anything else: one line; LAYERWISE_DEBUG=1 adds the stack", () => {
    const error = new TypeError("no such thing\nin two lines");
    const line =
      "layerwise-train: unexpected error: no such thing in two lines; LAYERWISE_DEBUG=1 shows where";
    expect(ended(error)).toEqual({ code: 1, lines: [line] });
    vi.stubEnv("LAYERWISE_DEBUG", "1");
    try {
      expect(ended(error)).toEqual({ code: 1, lines: [error.stack, line] });
    } finally {
      vi.unstubAllEnvs();
    }
  });
});
