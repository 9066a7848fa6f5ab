/**
 * The packed library on every runtime, in bundles and under the type checker. Each runtime must start its threads, let
 * them work, and reach the bits that this Node reaches.
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isInstalled, openPages } from "./browsers.mjs";
import { bundle } from "./bundles.mjs";
import { compile, programs, programWithoutPeer } from "./types.mjs";
import { close, folder, run } from "./workspace.mjs";

/** What program.mjs asks for. */
const THREADS = 3;

const here = fileURLToPath(new URL(".", import.meta.url));
const library = join(here, "../../packages/layerwise");
const inCI = !["", "0", "false"].includes(process.env.CI ?? "");
const counts = { passed: 0, failed: 0, skipped: 0 };

/** Runs one check, which returns what to print and throws when it fails. */
async function check(name, body) {
  try {
    console.log(`ok   ${name}: ${await body()}`);
    counts.passed++;
  } catch (error) {
    console.log(`FAIL ${name}: ${error.message}`);
    counts.failed++;
  }
}

/** Packs the library and installs it as a user does, with the program beside it. @returns the tarball */
async function install() {
  await run("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: library });
  const { version } = JSON.parse(readFileSync(join(library, "package.json"), "utf8"));
  const tarball = join(folder, `layerwise-${version}.tgz`);
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }');
  await run("npm", ["install", "--silent", "--no-audit", "--no-fund", tarball]);
  copyFileSync(join(here, "program.mjs"), join(folder, "program.mjs"));
  writeFileSync(
    join(folder, "require.cjs"),
    'require("layerwise").Parameter.allocate([1]); console.log("required by", process.version);',
  );
  return tarball;
}

/** @throws Error when a program's report is not what its runtime promises */
function checkReport(report, { bits, hasThreads }) {
  const { cores } = report;
  const expected = {
    kernel: "wasm",
    threads: hasThreads ? THREADS : 1,
    helpers: hasThreads ? THREADS - 1 : 0,
    defaultThreads: hasThreads ? Math.min(cores, 64) : 1,
    bits: bits ?? report.bits,
  };
  for (const [name, value] of Object.entries(expected)) {
    if (report[name] !== value) {
      throw new Error(
        `${name}: expected ${value}, got ${report[name]} in ${JSON.stringify(report)}`,
      );
    }
  }
  return `${report.bits}, ${report.helpers} helpers worked, ${report.defaultThreads} threads by default`;
}

async function checkTypes(tarball) {
  for (const program of programs) {
    await check(`types, ${program.name}`, async () => {
      const errors = await compile(program, tarball);
      if (errors.length > 0) throw new Error(`expected no errors, got\n${errors.join("\n")}`);
      return "compiles";
    });
  }
  await check("types, layerwise/jax without its peer", async () => {
    const errors = await compile(programWithoutPeer, tarball);
    if (!errors.some((error) => error.includes("'@jax-js/jax'"))) {
      throw new Error("expected an error that names @jax-js/jax");
    }
    return "the compiler names it";
  });
}

/** @returns the bits that all others must reach */
async function checkRuntimes() {
  const bin = (path) => join(here, "node_modules", path);
  // npm puts its packages' `node` before the machine's.
  const machineNode = process.env.npm_node_execpath ?? process.execPath;
  const nodes = {
    node: machineNode,
    node22: bin("node22/bin/node"),
    node24: bin("node24/bin/node"),
  };
  let bits;
  const checkProgram = (name, command, args) =>
    check(name, async () => {
      const report = JSON.parse(await run(command, args));
      bits ??= report.bits;
      return checkReport(report, { bits, hasThreads: true });
    });
  for (const [name, command] of Object.entries(nodes)) {
    await checkProgram(name, command, ["program.mjs"]);
    await check(`${name}, require()`, () => run(command, ["require.cjs"]));
  }
  await checkProgram("bun", bin(".bin/bun"), ["program.mjs"]);
  await checkProgram("deno", bin(".bin/deno"), ["run", "-A", "program.mjs"]);
  return bits;
}

async function checkBrowsers(bits) {
  const bundles = join(folder, "bundles");
  mkdirSync(bundles);
  const names = await bundle(join(folder, "program.mjs"), folder, bundles);
  for (const browser of ["chromium", "firefox-esr"]) {
    if (!(await isInstalled(browser))) {
      console.log(`SKIPPED ${browser}: not installed`);
      counts[inCI ? "failed" : "skipped"]++;
      continue;
    }
    const checkPage = (name, isIsolated, open) =>
      check(name, async () => {
        const report = await open();
        if (report.isolated !== isIsolated) {
          throw new Error(`crossOriginIsolated: expected ${isIsolated}, got ${report.isolated}`);
        }
        return checkReport(report, { bits, hasThreads: isIsolated });
      });
    await openPages({ bundles, names, browser, check: checkPage });
  }
}

try {
  const tarball = await install();
  await checkBrowsers(await checkRuntimes());
  await checkTypes(tarball);
} finally {
  await close();
}
const { passed, failed, skipped } = counts;
console.log(
  `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""} (runtimes)`,
);
process.exitCode = failed === 0 ? 0 : 1;
