/**
 * Checksums that tell whether processes have the same bits.
 *
 * Source: xxHash32 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md). Its four independent sums keep a
 * processor busy: the loop reads a few gigabytes a second.
 */

const PRIME_1 = 0x9e3779b1;
const PRIME_2 = 0x85ebca77;
const PRIME_3 = 0xc2b2ae3d;
const PRIME_4 = 0x27d4eb2f;
const PRIME_5 = 0x165667b1;

/** xxHash32 of whole words. A sequence of arrays has the checksum of each as the next one's seed. */
export function checksum(words: Uint32Array, seed = 0): number {
  const { length } = words;
  let at = 0;
  let hash = seed + PRIME_5;
  if (length >= 4) {
    let a = (seed + PRIME_1 + PRIME_2) | 0;
    let b = (seed + PRIME_2) | 0;
    let c = seed | 0;
    let d = (seed - PRIME_1) | 0;
    for (const end = length - 3; at < end; at += 4) {
      a = round(a, words[at]!);
      b = round(b, words[at + 1]!);
      c = round(c, words[at + 2]!);
      d = round(d, words[at + 3]!);
    }
    hash = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
  }
  hash = (hash + 4 * length) | 0;
  for (; at < length; at++) {
    hash = Math.imul(rotate((hash + Math.imul(words[at]!, PRIME_3)) | 0, 17), PRIME_4);
  }
  hash = Math.imul(hash ^ (hash >>> 15), PRIME_2);
  hash = Math.imul(hash ^ (hash >>> 13), PRIME_3);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function round(sum: number, word: number): number {
  return Math.imul(rotate((sum + Math.imul(word, PRIME_2)) | 0, 13), PRIME_1);
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

type Bits = Float32Array | Float64Array | Uint8Array;

/** One checksum of several arrays, in their order. */
export function checksumOf(arrays: Iterable<Bits>): number {
  let sum = 0;
  for (const array of arrays) sum = checksum(wordsOf(array), sum);
  return sum;
}

/** Bytes that are no whole words, or lie between two, are copied; zeros fill the last word. */
function wordsOf({ buffer, byteOffset, byteLength }: Bits): Uint32Array {
  if (byteOffset % 4 === 0 && byteLength % 4 === 0) {
    return new Uint32Array(buffer, byteOffset, byteLength / 4);
  }
  const words = new Uint32Array(Math.ceil(byteLength / 4));
  new Uint8Array(words.buffer).set(new Uint8Array(buffer, byteOffset, byteLength));
  return words;
}

/** A checksum of numbers and texts that are added one by one. One object serves many times, without new memory. */
export class Fingerprint {
  #numbers = new Float64Array(64);
  #length = 0;

  add(value: number | boolean | string): void {
    if (typeof value === "string") {
      for (let index = 0; index < value.length; index++) this.#push(value.charCodeAt(index));
    }
    this.#push(typeof value === "string" ? value.length : Number(value));
  }

  /** 53 bits, which a number holds; then starts anew. */
  finish(): number {
    const words = new Uint32Array(this.#numbers.buffer, 0, 2 * this.#length);
    this.#length = 0;
    return 2 ** 21 * checksum(words, 0) + (checksum(words, 1) >>> 11);
  }

  #push(value: number): void {
    if (this.#length === this.#numbers.length) {
      const longer = new Float64Array(2 * this.#length);
      longer.set(this.#numbers);
      this.#numbers = longer;
    }
    this.#numbers[this.#length++] = value;
  }
}
