/** Reads files with a size limit, and writes them so that a kill never leaves half of one. */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { UsageError, WriteError, messageOf } from "./errors.js";

const { O_APPEND, O_CREAT, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
const PARTIAL = ".partial";

/**
 * Opens a regular file. A FIFO, which may never answer, a device or a folder is refused at once.
 *
 * @throws UsageError that names what is there
 */
export function openFile(file: string, flags: number = O_RDONLY): number {
  // Windows has no such flag, nor FIFOs among its files.
  const nonBlocking = (O_NONBLOCK as number | undefined) ?? 0;
  let descriptor: number;
  try {
    descriptor = openSync(file, flags | nonBlocking, 0o666);
  } catch (error) {
    // Only when writing: existing devices can be opened for reading.
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EISDIR") throw new UsageError(`${file}: expected a file, got a folder`);
    if (code === "ENXIO") throw new UsageError(`${file}: expected a file, got a FIFO`);
    throw error;
  }
  const stats = fstatSync(descriptor);
  if (stats.isFile()) return descriptor;
  closeSync(descriptor);
  const kind = stats.isDirectory() ? "a folder" : stats.isFIFO() ? "a FIFO" : "a device";
  throw new UsageError(`${file}: expected a file, got ${kind}`);
}

/**
 * Reads a whole file after checking its size.
 *
 * @throws UsageError when it can't be read
 */
export function readLimited(file: string, maxBytes: number): Buffer {
  const bytes = readIfThere(file, maxBytes);
  if (bytes !== null) return bytes;
  throw new UsageError(`${file}: expected a file, got none`);
}

/** Like {@link readLimited}; null when there is no such file. */
export function readIfThere(file: string, maxBytes: number): Buffer | null {
  let descriptor: number | null = null;
  try {
    descriptor = openFile(file);
    const { size } = fstatSync(descriptor);
    if (size > maxBytes) {
      throw new UsageError(`${file}: expected at most ${maxBytes} bytes, got ${size}`);
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
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${file}: expected a file that can be read, got ${messageOf(error)}`);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

/** Writes all bytes: one call may write fewer. Without a position, at the end of what was written. */
export function writeFully(descriptor: number, bytes: Uint8Array, position?: number): void {
  let written = 0;
  while (written < bytes.length) {
    const at = position === undefined ? null : position + written;
    written += writeSync(descriptor, bytes, written, bytes.length - written, at);
  }
}

/**
 * Writes a file beside its target and renames it: whoever reads the target sees the old content or the
 * new, after a kill or a power cut too.
 *
 * @throws WriteError when it can't be written; then nothing is left behind
 */
export function writeAtomically(file: string, content: string | Uint8Array): void {
  // Always the same name, so that leftovers of a kill are overwritten and don't pile up.
  const partial = `${file}${PARTIAL}`;
  writing(file, () => {
    try {
      const descriptor = openFile(partial, O_WRONLY | O_CREAT | O_TRUNC);
      try {
        writeFully(descriptor, typeof content === "string" ? Buffer.from(content) : content);
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
      renameSync(partial, file);
    } catch (error) {
      rmSync(partial, { recursive: true, force: true });
      throw error;
    }
    syncFolder(dirname(file));
  });
}

/**
 * Adds a line to a file, all of it or nothing.
 *
 * @throws WriteError when it can't be written
 */
export function appendLine(file: string, line: string): void {
  writing(file, () => {
    const descriptor = openFile(file, O_WRONLY | O_CREAT | O_APPEND);
    const { size } = fstatSync(descriptor);
    try {
      writeFully(descriptor, Buffer.from(`${line}\n`));
      fsyncSync(descriptor);
    } catch (error) {
      ftruncateSync(descriptor, size);
      throw error;
    } finally {
      closeSync(descriptor);
    }
  });
}

/** Runs something that writes a file; a failure becomes a WriteError that names the file. */
export function writing<Result>(file: string, write: () => Result): Result {
  try {
    return write();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new WriteError(`${file}: expected a file that can be written, got ${messageOf(error)}`);
  }
}

/** Removes partial files that a kill has left. */
export function removePartials(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isFile() && entry.name.endsWith(PARTIAL)) rmSync(join(folder, entry.name));
  }
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
