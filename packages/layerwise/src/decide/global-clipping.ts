/** Global clipping: all gradients together are limited to one norm. */

/** PyTorch divides by the norm plus this, so that a norm at the limit is scaled by just under 1. */
export const EPSILON = 1e-6;

/**
 * The factor for every gradient: min(1, maxGradNorm / (norm + 1e-6)).
 *
 * Source: `torch.nn.utils.clip_grad_norm_`.
 *
 * @param globalNorm the norm of all layers' gradients, after percentile clipping
 */
export function globalClipScale(globalNorm: number, maxGradNorm: number): number {
  return Math.min(1, maxGradNorm / (globalNorm + EPSILON));
}
