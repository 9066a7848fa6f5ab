/** Scalars of jax-js, of a type that is said. */
import { numpy as np } from "@jax-js/jax";

/** A float32 scalar. */
export function scalar(value: number): np.Array {
  return np.array(value, { dtype: np.float32 });
}

/** An int32 scalar: a plain number would make float32 of integers. */
export function int32(value: number): np.Array {
  return np.array(value, { dtype: np.int32 });
}
