/** Text files that are read line by line, with bounded memory. */
import { closeSync, readSync } from "node:fs";
import { UsageError, messageOf } from "./errors.js";
import { openFile } from "./files.js";

const CHUNK_BYTES = 64 * 1024;
const LINE_FEED = 10;

/** A line without its end, and its place in the file, counted from 1. */
export interface Line {
  readonly number: number;
  readonly text: string;
}

/**
 * Yields the lines of a file. Text after the last line feed is left out: a kill can leave half a line.
 *
 * Memory stays below `maxBytes` and one chunk of 64 KiB, however large the file is.
 *
 * @param maxBytes the longest line that is accepted
 * @throws UsageError that names the file, and the line if one is too long
 */
export function* readLines(file: string, maxBytes: number): Generator<Line> {
  const descriptor = attempt(file, () => openFile(file));
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let pieces: Buffer[] = [];
    let length = 0;
    let number = 1;
    const append = (piece: Buffer): void => {
      length += piece.length;
      if (length > maxBytes) {
        throw new UsageError(
          `${file}, line ${number}: expected ${maxBytes} bytes or fewer, got a longer line`,
        );
      }
      pieces.push(piece);
    };
    for (;;) {
      const count = attempt(file, () => readSync(descriptor, chunk, 0, chunk.length, null));
      if (count === 0) return;
      let begin = 0;
      for (;;) {
        const end = chunk.subarray(0, count).indexOf(LINE_FEED, begin);
        if (end === -1) break;
        append(chunk.subarray(begin, end));
        yield { number: number++, text: Buffer.concat(pieces).toString() };
        pieces = [];
        length = 0;
        begin = end + 1;
      }
      // A copy: the next chunk is read into the same memory.
      if (begin < count) append(Buffer.from(chunk.subarray(begin, count)));
    }
  } finally {
    closeSync(descriptor);
  }
}

function attempt<Result>(file: string, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${file}: expected a file that can be read, got ${messageOf(error)}`);
  }
}
