/** A folder and processes that are gone when the tests have ended, also when they were killed. */
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const TIMEOUT_MS = 120_000;

export const folder = mkdtempSync(join(tmpdir(), "layerwise-runtimes-"));
const guard = spawn(
  process.execPath,
  [fileURLToPath(new URL("guard.mjs", import.meta.url)), folder],
  // A group of its own: Ctrl-C in a terminal goes to all of this one.
  { detached: true, stdio: ["pipe", "ignore", "inherit"] },
);

/** Ends what still runs and removes the folder. */
export async function close() {
  const closed = new Promise((resolve) => guard.on("close", resolve));
  guard.stdin.end();
  await closed;
}

/** Starts a process in a group of its own, with all that it starts itself. */
export function start(command, args, options = {}) {
  const child = spawn(command, args, { cwd: folder, ...options, detached: true });
  const { pid } = child;
  if (pid !== undefined) {
    guard.stdin.write(`started ${pid}\n`);
    child.on("close", () => guard.stdin.write(`ended ${pid}\n`));
  }
  return child;
}

/** Ends a process, with all that it started. */
export async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const closed = new Promise((resolve) => child.on("close", resolve));
  process.kill(-child.pid, "SIGKILL");
  await closed;
}

/**
 * Runs a program to its end.
 *
 * @returns what it printed
 * @throws Error with its last lines, and all of its output, when it fails or takes too long
 */
export async function run(command, args, options = {}) {
  const child = start(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  let printed = "";
  let complaints = "";
  child.stdout.setEncoding("utf8").on("data", (text) => (printed += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (complaints += text));
  const timer = setTimeout(() => {
    complaints += `no end within ${TIMEOUT_MS / 1000} s`;
    void end(child);
  }, TIMEOUT_MS);
  try {
    const code = await new Promise((resolve, reject) =>
      child.on("error", reject).on("close", resolve),
    );
    if (code === 0) return printed.trim();
  } finally {
    clearTimeout(timer);
  }
  const output = (printed + complaints).trim();
  const lastLines = output.split("\n").slice(-12).join("\n");
  throw Object.assign(new Error(`${command}: ${lastLines}`), { output });
}
