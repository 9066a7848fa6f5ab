/**
 * One process at a time owns a folder. A lock file in the folder names the owner.
 *
 * A file appears under its name with all its content, and only if the name is free. Claims form a chain: the
 * first is `lock`; a claim on a folder whose owner was killed is `lock-after-<token>`, with the token of the
 * dead claim. The last claim of the chain owns the folder. Of two processes that find the same dead claim, only
 * one can add the next; nobody removes a claim that could be another's by now. The winner then makes its claim
 * the first, by a rename over the dead one.
 */
import { randomUUID } from "node:crypto";
import {
  linkSync,
  lstatSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { checkInteger, checkText, parseObject } from "./check.js";
import { UsageError, messageOf } from "./errors.js";
import { currentProcess, fateOf } from "./process-identity.js";
import type { ProcessIdentity } from "./process-identity.js";

/** A process that owns a folder, or did until it was killed. */
interface Claim extends ProcessIdentity {
  /** Tells claims apart. */
  readonly token: string;
  /** For human readers: an ISO date. */
  readonly since: string;
}

const FIRST = "lock";
/** Prefix of claims on dead claims, and of files about to become claims. */
const OTHERS = "lock-";
/** Only a process killed while it takes over a folder adds a claim, so real chains are far shorter. */
const MAX_CLAIMS = 1000;
/** A claim is a few hundred bytes. */
const MAX_CLAIM_BYTES = 4096;
const TOKEN = /^[0-9a-f-]{36}$/;

export class FolderLock {
  readonly #folder: string;
  readonly #token: string;
  readonly #onExit = (): void => {
    this.release();
  };

  private constructor(folder: string, token: string) {
    this.#folder = folder;
    this.#token = token;
    process.once("exit", this.#onExit);
  }

  /**
   * Takes a folder until {@link release}, or until the process ends.
   *
   * @throws UsageError when another process owns it, or may do so, and when it can't be written
   */
  static take(folder: string): FolderLock {
    const own: Claim = {
      ...currentProcess(),
      token: randomUUID(),
      since: new Date().toISOString(),
    };
    try {
      claim(folder, own);
    } catch (error) {
      if (error instanceof UsageError) throw error;
      throw new UsageError(
        `${folder}: expected a folder that can be written, got ${messageOf(error)}`,
      );
    }
    return new FolderLock(folder, own.token);
  }

  release(): void {
    process.removeListener("exit", this.#onExit);
    const file = join(this.#folder, FIRST);
    // Somebody may have removed the lock by hand, and another process taken the folder.
    if (readClaim(file)?.token === this.#token) rmSync(file, { force: true });
  }
}

/** Whether a file name is that of a lock. */
export function isLockFile(name: string): boolean {
  return name === FIRST || name.startsWith(OTHERS);
}

function claim(folder: string, own: Claim): void {
  const tried: string[] = [];
  for (;;) {
    const last = lastClaim(folder);
    if (last?.claim.token === own.token) {
      if (last.name !== FIRST) renameSync(join(folder, last.name), join(folder, FIRST));
      removeOthers(folder);
      return;
    }
    if (last !== null && fateOf(last.claim) !== "ended") {
      withdraw(folder, tried, own);
      throw new UsageError(refusal(folder, last.claim));
    }
    // The next turn reads the chain again and shows whether this process came first.
    const name = last === null ? FIRST : after(last.claim);
    tried.push(name);
    createClaim(folder, name, own);
  }
}

/** The claim that owns the folder, if its process still runs. */
function lastClaim(folder: string): { name: string; claim: Claim } | null {
  let last = null;
  let name = FIRST;
  for (let count = 0; count < MAX_CLAIMS; count++) {
    const claim = readClaim(join(folder, name));
    if (claim === null) return last;
    last = { name, claim };
    name = after(claim);
  }
  throw new UsageError(`${folder}: expected fewer than ${MAX_CLAIMS} lock files`);
}

function after({ token }: Claim): string {
  return `${OTHERS}after-${token}`;
}

/** Gives a claim a name, if that is free, with all its content at once. */
function createClaim(folder: string, name: string, own: Claim): void {
  const file = join(folder, `${OTHERS}new-${own.token}`);
  const content = JSON.stringify(own);
  try {
    writeFileSync(file, content);
    linkSync(file, join(folder, name));
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall !== "link") throw error;
    // ENOENT: the owner has removed what is not in the chain.
    if (code === "EEXIST" || code === "ENOENT") return;
    createWithoutLinks(join(folder, name), content);
  } finally {
    rmSync(file, { force: true });
  }
}

/** For file systems without hard links, such as exFAT. A kill in between leaves an empty file, which is refused. */
function createWithoutLinks(file: string, content: string): void {
  try {
    writeFileSync(file, content, { flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** Removes claims that came too late to be in the chain. */
function withdraw(folder: string, names: readonly string[], { token }: Claim): void {
  for (const file of names.map((name) => join(folder, name))) {
    if (readClaim(file)?.token === token) rmSync(file, { force: true });
  }
}

/** For the owner: removes claims out of the chain, and what killed processes left. */
function removeOthers(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (name.startsWith(OTHERS)) rmSync(join(folder, name), { force: true });
  }
}

/** @throws UsageError when the file exists but is not a lock of this program */
function readClaim(file: string): Claim | null {
  const text = readText(file);
  if (text === null) return null;
  try {
    const saved = parseObject(file, text);
    const optional = (name: string): string | null =>
      saved[name] === null ? null : checkText(name, saved[name]);
    const token = checkText("token", saved.token);
    if (!TOKEN.test(token)) throw new UsageError(`token: expected a UUID, got "${token}"`);
    return {
      pid: checkInteger("pid", saved.pid, { from: 1, to: Number.MAX_SAFE_INTEGER }),
      host: checkText("host", saved.host),
      machine: optional("machine"),
      boot: optional("boot"),
      namespace: optional("namespace"),
      started: optional("started"),
      token,
      since: checkText("since", saved.since),
    };
  } catch (error) {
    throw new UsageError(
      `${file}: expected a lock of layerwise-train, got another file (${messageOf(error)}); if no process uses the folder, remove it`,
    );
  }
}

function readText(file: string): string | null {
  try {
    const stats = lstatSync(file);
    return stats.isFile() && stats.size <= MAX_CLAIM_BYTES ? readFileSync(file, "utf8") : "";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function refusal(folder: string, { pid, host, since, ...holder }: Claim): string {
  const got = `${folder}: expected a folder that no other process uses, got one that process ${pid} on ${host} uses since ${since}`;
  return fateOf({ pid, host, ...holder }) === "running"
    ? `${got}; wait until it has ended, or choose another folder`
    : `${got}; whether it still runs can't be seen from here: if it has ended, remove ${join(folder, FIRST)}`;
}
