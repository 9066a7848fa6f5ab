/** Kinds of momentum, constants of the loops. */
export const NONE: i32 = 0;
export const FLOAT32: i32 = 1;
export const BLOCKWISE: i32 = 2;
