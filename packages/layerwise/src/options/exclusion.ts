/**
 * The usual exclusion: biases and normalisation layers get no trust ratio and no weight decay.
 *
 * Source: You et al. 2017 and every large-batch recipe since; Goyal et al. 2017 (arXiv 1706.02677), 5.1.
 */

/** What excluded layers have for options. */
export const EXCLUDED = { trustRatio: "none", weightDecay: 0 } as const;

/** Layers with fewer than 2 dimensions. */
export function isUsuallyExcluded({ shape }: { readonly shape: readonly number[] }): boolean {
  return shape.length < 2;
}
