/** layerwise/mpi under a real mpirun, with Open MPI and MPICH. */
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { expect, it } from "vitest";
import { LIBRARIES, describeEach, isInstalled, mpirun, program } from "./helpers/mpirun.js";
import type { Library } from "./helpers/mpirun.js";

interface Report {
  readonly rank: number;
  readonly size: number;
  readonly name: string;
  readonly local: readonly [number, number];
  readonly hash: string;
}

async function operations(library: Library, size: number, options = {}): Promise<Report[]> {
  const args = [program("operations"), JSON.stringify(options)];
  const { code, stdout, stderr } = await mpirun(library, size, args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const reports = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Report);
  return reports.sort((a, b) => a.rank - b.rank);
}

/** What one process has, without MPI. */
function alone(): Report {
  const { stdout } = spawnSync(process.execPath, [program("operations")], { encoding: "utf8" });
  return JSON.parse(stdout) as Report;
}

it("without mpirun: one process, which needs neither MPI nor koffi", () => {
  const cwd = tmpdir();
  const { status, stdout, stderr } = spawnSync(process.execPath, [program("operations")], {
    cwd,
    encoding: "utf8",
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(JSON.parse(stdout)).toMatchObject({
    rank: 0,
    size: 1,
    name: "one process",
    local: [0, 1],
  });
});

describeEach("operations", (library) => {
  it.each([1, 2, 3, 4, 8])("are exact on %i processes", async (size) => {
    const reports = await operations(library, size);
    expect(reports.map(({ rank }) => rank)).toEqual(Array.from({ length: size }, (_, i) => i));
    for (const report of reports) {
      expect(report.size).toBe(size);
      expect(report.name).toMatch(new RegExp(`^${library} \\d+\\.\\d+`));
      expect(report.local).toEqual([report.rank, size]);
    }
    // Sums of 8 leaves: the bits of one process without MPI, whatever the number of processes and the library.
    if (size !== 3)
      expect(new Set(reports.map(({ hash }) => hash))).toEqual(new Set([alone().hash]));
  });

  it("the library's own order: the same bits on every process", async () => {
    const reports = await operations(library, 4, { order: "library" });
    expect(new Set(reports.map(({ hash }) => hash)).size).toBe(1);
  });
});

describeEach("a process that fails ends the job within 10 s, with a message", (library) => {
  it.each([
    [
      "exception",
      /this rank is broken[^]*rank \d of \d: expected finalize\(\) at the end, got the end of the process with exit code 1/,
    ],
    ["all exception", /this rank is broken/],
    ["rejection", /this rank is broken[^]*exit code 1/],
    ["exit 0", /rank \d of \d: expected finalize\(\) at the end, .* exit code 0/],
    ["exit 3", /exit code 3/],
    ["no finalize", /expected finalize\(\) at the end/],
    ["SIGKILL", /(signal 9|KILLED BY SIGNAL: 9|Killed)/i],
    ["abort", /layerwise: rank \d of \d: this rank is broken/],
    [
      "length",
      /allReduce: expected the same call on all ranks, got allReduce of 2 elements .* on .*, allReduce of 3 elements/,
    ],
  ])("%s", async (how, message) => {
    for (const size of [2, 4]) {
      const { code, stdout, stderr, seconds } = await mpirun(library, size, [program("fail"), how]);
      expect(code).not.toBe(0);
      expect(code).not.toBe(null);
      // MPICH tells of signals on its standard output.
      expect(stdout + stderr).toMatch(message);
      expect(seconds).toBeLessThan(10);
    }
  });
});

describeEach("a job that can't begin", (library) => {
  const print = ["--input-type=module", "--eval"];
  const init = `const { Mpi } = await import(${JSON.stringify(import.meta.resolve("layerwise/mpi"))});`;

  it("without koffi: says what to install", async () => {
    const script = `${init} await Mpi.init();`;
    const { code, stderr } = await mpirun(library, 2, [...print, script], { cwd: tmpdir() });
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/Mpi\.init: expected the package koffi, .* npm install koffi/);
  });

  it("a library of another kind, or none: is refused by name", async () => {
    const other = LIBRARIES.find((candidate) => candidate !== library)!;
    const file = other === "MPICH" ? "libmpich.so.12" : "libmpi.so.40";
    const script = `${init} await Mpi.init();`;
    if (isInstalled(other)) {
      const env = { LAYERWISE_MPI_LIBRARY: file };
      const { code, stderr } = await mpirun(library, 2, [...print, script], { env });
      expect(code).not.toBe(0);
      expect(stderr).toMatch(new RegExp(`expected ${library}, .* got ${other} \\d`));
    }
    const env = { LAYERWISE_MPI_LIBRARY: "libm.so.6" };
    const { stderr } = await mpirun(library, 2, [...print, script], { env });
    expect(stderr).toContain("expected an MPI library, got libm.so.6");
  });

  it("a second init, a wrong option, and a call after finalize", async () => {
    const script = `${init}
      const told = [];
      const tell = async (work) => { try { await work(); } catch (error) { told.push(error.message); } };
      await tell(() => Mpi.init({ order: "random" }));
      const job = await Mpi.init();
      await tell(() => Mpi.init());
      job.finalize();
      await tell(() => job.barrier());
      if (job.rank === 0) console.log(told.join("\\n"));`;
    const { code, stdout } = await mpirun(library, 2, [...print, script]);
    expect(code).toBe(0);
    expect(stdout.trim().split("\n")).toEqual([
      'Mpi.init: order: expected "tree" or "library", got "random"',
      "Mpi.init: expected one call per program, got another",
      "MPI_Allgather: expected a job in progress, got one that finalize() has ended",
    ]);
  });
});

describeEach("a heap that cannot grow", (library) => {
  it("loses no memory", async () => {
    const { code, stdout } = await mpirun(library, 2, [program("full-heap")]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "the heap is whole\n" });
  });
});
