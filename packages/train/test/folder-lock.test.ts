/** The lock of a folder: who owns it, who is refused, and what a killed owner leaves. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { FolderLock } from "../src/folder-lock.js";
import { currentProcess, fateOf } from "../src/process-identity.js";
import type { ProcessIdentity } from "../src/process-identity.js";
import { temporaryFolder } from "./helpers/data.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);

let folders = 0;
function newFolder(): string {
  const path = join(temporary.path, `folder${++folders}`);
  mkdirSync(path);
  return path;
}

const TOKEN = "01234567-89ab-cdef-0123-456789abcdef";

/** Writes the lock of a process that differs from this one. */
function writeLock(folder: string, other: Partial<ProcessIdentity>): string {
  const file = join(folder, "lock");
  const claim = { ...currentProcess(), ...other, token: TOKEN, since: "2026-01-31T12:00:00.000Z" };
  writeFileSync(file, JSON.stringify(claim));
  return file;
}

/** A process id of a process that has ended, and was waited for. */
async function endedProcess(): Promise<number> {
  const child = spawn(process.execPath, ["--version"], { stdio: "ignore" });
  await once(child, "close");
  return child.pid!;
}

test("a folder is taken once, also in one process, and again when it is released", () => {
  const folder = newFolder();
  const lock = FolderLock.take(folder);
  expect(() => FolderLock.take(folder)).toThrow(
    `${folder}: expected a folder that no other process uses, got one that process ${process.pid} on `,
  );
  expect(() => FolderLock.take(folder)).toThrow(
    "; wait until it has ended, or choose another folder",
  );
  expect(readdirSync(folder)).toEqual(["lock"]);
  lock.release();
  expect(readdirSync(folder)).toEqual([]);
  FolderLock.take(folder).release();
});

test("a lock that another process has by now is not released", () => {
  const folder = newFolder();
  const lock = FolderLock.take(folder);
  const file = writeLock(folder, {});
  lock.release();
  expect(existsSync(file)).toBe(true);
});

test("the lock of a killed process is taken over, with what others that were killed left", async () => {
  const folder = newFolder();
  writeLock(folder, { pid: await endedProcess() });
  // One was killed after it had taken this over, before its claim was the first.
  const second = "11111111-89ab-cdef-0123-456789abcdef";
  const claim = { ...currentProcess(), pid: await endedProcess(), token: second, since: "now" };
  writeFileSync(join(folder, `lock-after-${TOKEN}`), JSON.stringify(claim));
  writeFileSync(join(folder, `lock-new-${second}`), "{");
  const lock = FolderLock.take(folder);
  expect(readdirSync(folder)).toEqual(["lock"]);
  lock.release();
  expect(readdirSync(folder)).toEqual([]);
});

test("a claim of a running process on a dead claim counts", async () => {
  const folder = newFolder();
  writeLock(folder, { pid: await endedProcess() });
  const claim = { ...currentProcess(), token: TOKEN.replace("0", "1"), since: "now" };
  writeFileSync(join(folder, `lock-after-${TOKEN}`), JSON.stringify(claim));
  expect(() => FolderLock.take(folder)).toThrow(`process ${process.pid}`);
  expect(readdirSync(folder).sort()).toEqual(["lock", `lock-after-${TOKEN}`]);
});

test("a process id that is used again is not the owner", () => {
  const folder = newFolder();
  writeLock(folder, { started: "1" });
  FolderLock.take(folder).release();
});

test("a zombie has ended", async () => {
  // The shell never asks how its child ended, and then becomes a program that doesn't either.
  const parent = spawn("sh", ["-c", "true & echo $!; exec sleep 30"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [text] = (await once(parent.stdout, "data")) as [Buffer];
  const zombie = { ...currentProcess(), pid: Number(text.toString()), started: "1" };
  await expect.poll(() => fateOf(zombie)).toBe("ended");
  parent.kill();
});

test.each<[string, Partial<ProcessIdentity>]>([
  ["another host", { host: "elsewhere" }],
  ["another machine of the same name", { machine: "elsewhere" }],
  ["a container", { namespace: "pid:[1]" }],
  ["another boot, perhaps of another machine", { machine: null, boot: "1" }],
])("what can't be checked from here is refused: %s", async (_, other) => {
  const folder = newFolder();
  const file = writeLock(folder, { pid: await endedProcess(), ...other });
  expect(() => FolderLock.take(folder)).toThrow(
    `whether it still runs can't be seen from here: if it has ended, remove ${file}`,
  );
  expect(readdirSync(folder)).toEqual(["lock"]);
});

test("nothing of an earlier boot still runs, if the machine is certain", () => {
  const earlier = { ...currentProcess(), boot: "earlier", namespace: "other" };
  expect(fateOf({ ...earlier, machine: currentProcess().machine })).toBe(
    currentProcess().machine === null ? "unknown" : "ended",
  );
});

test.each<[string, (file: string) => void]>([
  [
    "nothing",
    (file) => {
      writeFileSync(file, "");
    },
  ],
  [
    "a number",
    (file) => {
      writeFileSync(file, "123");
    },
  ],
  [
    "another object",
    (file) => {
      writeFileSync(file, '{"pid":123}');
    },
  ],
  [
    "too much",
    (file) => {
      writeFileSync(file, JSON.stringify({ pid: "1".repeat(5000) }));
    },
  ],
  [
    "a path for a token",
    (file) => {
      writeLock(join(file, ".."), {});
      const text = readFileSync(file, "utf8");
      writeFileSync(file, text.replace(TOKEN, "../../../x"));
    },
  ],
  [
    "a folder",
    (file) => {
      mkdirSync(file);
    },
  ],
  [
    "a link",
    (file) => {
      symlinkSync("/dev/zero", file);
    },
  ],
])("a lock file that holds %s is refused", (_, write) => {
  const folder = newFolder();
  const file = join(folder, "lock");
  write(file);
  expect(() => FolderLock.take(folder)).toThrow(
    `${file}: expected a lock of layerwise-train, got another file`,
  );
});

test("a folder that can't be written is refused", () => {
  const file = join(temporary.path, "file");
  writeFileSync(file, "");
  for (const folder of [join(file, "folder"), join(temporary.path, "missing")]) {
    expect(() => FolderLock.take(folder)).toThrow(
      `${folder}: expected a folder that can be written, got `,
    );
  }
});

test("six processes, some killed as owners, with every file operation delayed: one owner at a time", async () => {
  const folder = newFolder();
  const log = join(temporary.path, "log");
  const script = fileURLToPath(new URL("helpers/lock-process.mjs", import.meta.url));
  const seed = Number(process.env.LAYERWISE_SEED ?? Date.now() % 1e6);
  console.log(`folder-lock: seed ${seed}`);
  const seconds = 6;
  const end = Date.now() + 1000 * seconds;
  let started = 0;
  const slot = async (): Promise<void> => {
    while (Date.now() < end) {
      const left = (end - Date.now()) / 1000;
      const args = [script, folder, log, String(seed + started++), String(left)];
      const child: ChildProcess = spawn(process.execPath, args, { stdio: "inherit" });
      await once(child, "close");
    }
  };
  await Promise.all(Array.from({ length: 6 }, slot));

  const events = readFileSync(log, "utf8").trim().split("\n");
  let owner: string | null = null;
  let takeovers = 0;
  for (const event of events) {
    const [kind, pid = null] = event.split(" ");
    expect(["begin", "end", "killed"]).toContain(kind);
    expect(owner, `seed ${seed}: ${event}`).toBe(kind === "begin" ? null : pid);
    if (kind === "killed") takeovers++;
    owner = kind === "begin" ? pid : null;
  }
  expect(owner).toBe(null);
  expect(takeovers).toBeGreaterThan(3);
  console.log(`folder-lock: ${events.length / 2} owners, ${takeovers} of them killed`);
});
