/**
 * Sizes that the matrix product of jax-js' wasm device is fast at.
 *
 * It works on 4 rows of the result at a time where their number is a multiple of 4, 2 rows where it is
 * only even, 1 row else, always over 16 columns. Four rows need 16 accumulators, all vector registers that
 * x86-64 has: they spill. [514, 784] · [784, 300] takes 14 ms, with 512 rows 34 ms, with 511 rows 18 ms
 * (without fused multiply-add; with it 12, 14 and 17 ms). The sum runs in pieces of the largest divisor up to 64 of its length:
 * 514 = 2 · 257 samples as the *inner* size of a gradient take 68 ms, 258 = 6 · 43 take 10.
 */
const LARGEST_PIECE = 64;
const SMALLEST_PIECE = 32;

/**
 * The next size that is even, no multiple of 4, and summed in long pieces.
 *
 * @param size how many rows are needed
 * @param smallestPiece 1 where the rows are never summed over
 */
export function fastRows(size: number, smallestPiece = SMALLEST_PIECE): number {
  let rows = size;
  while (rows % 4 !== 2 || (rows > LARGEST_PIECE && longestPiece(rows) < smallestPiece)) rows++;
  return rows;
}

function longestPiece(rows: number): number {
  let piece = Math.min(rows, LARGEST_PIECE);
  while (rows % piece !== 0) piece--;
  return piece;
}
