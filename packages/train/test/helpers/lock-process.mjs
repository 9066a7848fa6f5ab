/**
 * A process that takes and releases the lock of a folder again and again, for folder-lock.test.ts. It writes a
 * line when it owns the folder, and one before it lets go; at times it kills itself.
 *
 * Every file operation that the lock is made of waits a little before and after, so that the places where two
 * processes could overtake each other are wide open.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const [folder = "", log = "", seed, seconds] = process.argv.slice(2);
const write = fs.writeSync;
const descriptor = fs.openSync(log, "a");

let state = Number(seed);
/** A number from 0 up to 1, the same on every run with a seed. */
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

function pause() {
  // Mostly none: a pause of all is as narrow as none.
  const milliseconds = random() < 0.5 ? 0 : 4 * random();
  if (milliseconds > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

const operations = /** @type {Record<string, (...args: unknown[]) => unknown>} */ (
  /** @type {unknown} */ (fs)
);
for (const name of ["linkSync", "renameSync", "rmSync", "writeFileSync", "readFileSync"]) {
  const original = operations[name];
  if (original === undefined) throw new Error(`node:fs: expected ${name}, got none`);
  operations[name] = (...args) => {
    pause();
    try {
      return original(...args);
    } finally {
      pause();
      // In the middle of taking or releasing.
      if (random() < 0.01) process.kill(process.pid, "SIGKILL");
    }
  };
}
syncBuiltinESMExports();
const { FolderLock } =
  /** @type {{ FolderLock: { take(folder: string): { release(): void } } }} */ (
    await import(new URL("../../dist/folder-lock.js", import.meta.url).href)
  );

/** @param {string} event */
function record(event) {
  // One write of a short line at the end of a file is never mixed with another process's.
  write(descriptor, `${event} ${process.pid}\n`);
}

const end = Date.now() + 1000 * Number(seconds);
while (Date.now() < end) {
  let lock;
  try {
    lock = FolderLock.take(folder);
  } catch (error) {
    const message = String(error);
    if (!message.includes("expected a folder that no other process uses")) record(message);
    continue;
  }
  record("begin");
  pause();
  if (random() < 0.3) {
    record("killed");
    process.kill(process.pid, "SIGKILL");
  }
  record("end");
  lock.release();
}
