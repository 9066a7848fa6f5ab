/** A folder for a new run or sweep. */
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { UsageError, WriteError, messageOf } from "./errors.js";
import { FolderLock, isLockFile } from "./folder-lock.js";

/** The first file of a run or a sweep. */
const CONFIG_FILES = ["config.json", "sweep.json"];

/**
 * Checks that a folder can take a new run or sweep, before any long work.
 *
 * @throws UsageError when it holds anything
 */
export function checkNewFolder(path: string): void {
  const names = namesIn(path);
  const isUsed = names.some((name) => CONFIG_FILES.includes(name));
  if (isUsed) {
    throw new UsageError(
      `--out: expected a new folder, got ${path}, which already holds a run; continue it with --resume ${path}, or choose another folder`,
    );
  }
  // Left by a process that was killed before it wrote its config, when no run had begun.
  const others = names.filter(
    (name) => !isLockFile(name) && !CONFIG_FILES.some((config) => name === `${config}.partial`),
  );
  if (others.length > 0) {
    throw new UsageError(
      `--out: expected a new or empty folder, got ${path}, which holds ${others[0]!}`,
    );
  }
}

/**
 * Makes a folder and takes its lock before writing anything. Releases the lock when `fill` throws.
 *
 * @param fill writes the first files
 * @throws UsageError when the folder holds anything, can't be written, or another process uses it
 */
export function takeNewFolder<Folder>(path: string, fill: (lock: FolderLock) => Folder): Folder {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw new UsageError(
      `--out: expected a folder that can be made, got ${path}: ${messageOf(error)}`,
    );
  }
  const lock = FolderLock.take(path);
  try {
    // Another process may have made its run here, and ended, since the folder was looked at.
    checkNewFolder(path);
    return fill(lock);
  } catch (error) {
    lock.release();
    throw error instanceof WriteError ? new UsageError(error.message, { cause: error }) : error;
  }
}

function namesIn(path: string): string[] {
  if (!existsSync(path)) return [];
  try {
    return readdirSync(path);
  } catch (error) {
    throw new UsageError(`--out: expected a folder, got ${path}: ${messageOf(error)}`);
  }
}
