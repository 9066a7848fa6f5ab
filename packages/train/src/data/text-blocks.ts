/** The text of a table, block by block: what is in memory does not grow with the file. */
import { isUtf8 } from "node:buffer";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { UsageError, messageOf } from "../errors.js";
import { readLimited } from "../files.js";

/** Limits: 2 GiB for a plain file, 256 MiB for one that is unpacked in memory, 64 MiB for a record. */
const MAX_BYTES = 2 ** 31;
const MAX_UNPACKED = 2 ** 28;
const MAX_RECORD = 2 ** 26;

/** 256 KiB: larger blocks are no faster, and their strings live longer. */
const BLOCK = 2 ** 18;

const QUOTE = 0x22;
const LF = 0x0a;
const CR = 0x0d;

/** Whole records of a table. */
export interface TextBlock {
  text: string;
  /** Number of the first line, from 1. */
  line: number;
  hasQuotes: boolean;
}

/**
 * Cuts a file, plain or gzipped, at ends of records.
 *
 * @throws UsageError that names the file, and the line of bytes that are not UTF-8
 */
export function* textBlocks(file: string): Generator<TextBlock> {
  let rest: Buffer = Buffer.alloc(0);
  let line = 1;
  let isFirst = true;
  for (const { bytes, isLast } of byteBlocks(file)) {
    const pending = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    const hasQuotes = pending.includes(QUOTE);
    const end = isLast ? pending.length : lastRecordEnd(pending, hasQuotes);
    if (pending.length - end > MAX_RECORD) {
      throw new UsageError(
        `${file}, line ${line}: expected a line of at most ${MAX_RECORD} bytes, got more (is a quote not closed?)`,
      );
    }
    rest = Buffer.from(pending.subarray(end));
    if (end === 0) continue;
    const block = pending.subarray(0, end);
    if (!isUtf8(block)) throw notUtf8(file, block, line);
    const text = block.toString("utf8");
    yield { text: isFirst ? text.replace(/^\ufeff/, "") : text, line, hasQuotes };
    line += countLines(block);
    isFirst = false;
  }
}

interface ByteBlock {
  bytes: Buffer;
  isLast: boolean;
}

function* byteBlocks(file: string): Generator<ByteBlock> {
  let descriptor: number | null = null;
  try {
    descriptor = openSync(file, "r");
    const { size } = fstatSync(descriptor);
    if (size > MAX_BYTES) {
      throw new UsageError(`${file}: expected at most ${MAX_BYTES} bytes, got ${size}`);
    }
    for (let position = 0; position < size;) {
      const bytes = Buffer.allocUnsafe(Math.min(BLOCK, size - position));
      const count = readSync(descriptor, bytes, 0, bytes.length, position);
      if (position === 0 && bytes[0] === 0x1f && bytes[1] === 0x8b) {
        yield* unpackedBlocks(file);
        return;
      }
      position = count === 0 ? size : position + count;
      yield { bytes: bytes.subarray(0, count), isLast: position >= size };
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${file}: expected a file that can be read, got ${messageOf(error)}`);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

function* unpackedBlocks(file: string): Generator<ByteBlock> {
  const unpacked = unpack(file);
  for (let start = 0; start < unpacked.length; start += BLOCK) {
    const end = Math.min(unpacked.length, start + BLOCK);
    yield { bytes: unpacked.subarray(start, end), isLast: end === unpacked.length };
  }
}

function unpack(file: string): Buffer {
  try {
    return gunzipSync(readLimited(file, MAX_UNPACKED), { maxOutputLength: MAX_UNPACKED });
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(
      `${file}: expected a gzip of at most ${MAX_UNPACKED} unpacked bytes, got: ${messageOf(error)}`,
    );
  }
}

/** Behind the last line end that is not within quotes. */
function lastRecordEnd(bytes: Buffer, hasQuotes: boolean): number {
  if (!hasQuotes) {
    const end = bytes.lastIndexOf(LF);
    if (end >= 0) return end + 1;
    // The last byte may be the first half of CR LF.
    return bytes.subarray(0, -1).lastIndexOf(CR) + 1;
  }
  let end = 0;
  // A doubled quote within quotes closes and opens, which comes to the same.
  let quoted = false;
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index]!;
    if (byte === QUOTE) quoted = !quoted;
    else if (quoted) continue;
    else if (byte === LF) end = index + 1;
    else if (byte === CR && index + 1 < bytes.length && bytes[index + 1] !== LF) end = index + 1;
  }
  return end;
}

function countLines(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) lines++;
  for (let at = bytes.indexOf(CR); at >= 0; at = bytes.indexOf(CR, at + 1)) {
    if (bytes[at + 1] !== LF) lines++;
  }
  return lines;
}

function notUtf8(file: string, block: Buffer, firstLine: number): UsageError {
  let line = firstLine;
  for (let start = 0; start < block.length; line++) {
    const rest = block.subarray(start);
    const end = rest.findIndex((byte) => byte === LF || byte === CR);
    if (end < 0 || !isUtf8(rest.subarray(0, end))) break;
    start += rest[end] === CR && rest[end + 1] === LF ? end + 2 : end + 1;
  }
  return new UsageError(`${file}, line ${line}: expected text in UTF-8, got other bytes`);
}
