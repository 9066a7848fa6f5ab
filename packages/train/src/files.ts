/** Files that are read with a limit and written so that a kill never leaves half of one. */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { UsageError, messageOf } from "./errors.js";

/** Reads a whole file, whose size is looked at first. */
export function readLimited(file: string, maxBytes: number): Buffer {
  let descriptor: number | null = null;
  try {
    descriptor = openSync(file, "r");
    const { size } = fstatSync(descriptor);
    if (size > maxBytes) {
      throw new UsageError(`${file}: has ${size} bytes; allowed are ${maxBytes}`);
    }
    const bytes = Buffer.alloc(size);
    let filled = 0;
    while (filled < size) {
      const count = readSync(descriptor, bytes, filled, size - filled, filled);
      if (count === 0) break;
      filled += count;
    }
    return bytes.subarray(0, filled);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${file}: can't be read: ${messageOf(error)}`);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

/**
 * Writes a file beside its target and renames it: whoever reads the target sees the old content or the
 * new, after a kill or a power cut too.
 */
export function writeAtomically(file: string, content: string | Uint8Array): void {
  // Always the same name: what a kill leaves behind is written over, not collected.
  const partial = `${file}.partial`;
  const descriptor = openSync(partial, "w");
  try {
    writeFileSync(descriptor, content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(partial, file);
  syncFolder(dirname(file));
}

/** Makes a rename durable; platforms that can't open folders (Windows) do so on their own. */
function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(folder, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
