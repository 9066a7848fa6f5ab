/**
 * Jobs over two hosts, made of network namespaces: messages between them go by TCP. Where the machine allows none (they take
 * root and iproute2, and more rights than a container has by default) the tests are skipped, and say so.
 */
import { spawnSync } from "node:child_process";
import { afterAll, expect, it } from "vitest";
import { twoHosts } from "./helpers/hosts.js";
import type { Hosts } from "./helpers/hosts.js";
import { describeEach, mpirun, program } from "./helpers/mpirun.js";

const found = twoHosts();
const isRefused = typeof found === "string";
if (isRefused) console.warn(`SKIPPED: two hosts: expected network namespaces, got ${found}`);
const hosts: Hosts = isRefused ? { launcher: () => [], remove: () => undefined } : found;
afterAll(() => {
  hosts.remove();
});

interface Report {
  readonly rank: number;
  readonly local: readonly [number, number];
  readonly hash: string;
}

describeEach("two hosts", (library) => {
  it.skipIf(isRefused).each([1, 2, 4])(
    "%i processes on each have the bits of one process without MPI",
    async (each) => {
      const { code, stdout, stderr } = await mpirun(library, 2 * each, [program("operations")], {
        launcher: hosts.launcher(library, each),
      });
      // Open MPI now and then warns that it could not set the group of a process that had already begun.
      expect({ code, stderr: stderr.replace(/^.* setpgid\(.*\n/m, "") }).toEqual({
        code: 0,
        stderr: "",
      });
      const alone = spawnSync(process.execPath, [program("operations")], { encoding: "utf8" });
      const { hash } = JSON.parse(alone.stdout) as Report;
      const reports = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Report)
        .sort((a, b) => a.rank - b.rank);
      expect(reports).toMatchObject(
        Array.from({ length: 2 * each }, (_, rank) => ({ rank, local: [rank % each, each], hash })),
      );
    },
  );

  // The last rank, which fails, is on the second host; the launcher is on the first.
  it.skipIf(isRefused).each([
    ["exception", /this rank is broken/],
    ["exit 0", /rank 3 of 4: expected finalize\(\) at the end, .* exit code 0/],
    ["SIGKILL", /(signal 9|KILLED BY SIGNAL: 9|EXIT CODE: 9)/],
    ["abort", /layerwise: rank 3 of 4: this rank is broken/],
    ["lost-host", /lost communication with a remote daemon|control_cb .* failed/],
  ])("%s on the other host ends the job within 10 s", async (how, message) => {
    const { code, stdout, stderr, seconds } = await mpirun(library, 4, [program("fail"), how], {
      launcher: hosts.launcher(library, 2),
    });
    expect(code).not.toBe(0);
    expect(code).not.toBe(null);
    expect(stdout + stderr).toMatch(message);
    expect(seconds).toBeLessThan(10);
  });
});
