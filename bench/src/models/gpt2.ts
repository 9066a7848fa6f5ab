/** The parameters of the 12-layer GPT-2 (Radford et al. 2019); the head shares the token embedding. */
import type { LayerShape } from "../problem.js";

const BLOCKS = 12;
const WIDTH = 768;
const VOCABULARY = 50_257;
const CONTEXT = 1024;

export function gpt2(): LayerShape[] {
  const layers: LayerShape[] = [
    { name: "wte.weight", shape: [VOCABULARY, WIDTH] },
    { name: "wpe.weight", shape: [CONTEXT, WIDTH] },
  ];
  const withBias = (name: string, shape: number[]): void => {
    layers.push({ name: `${name}.weight`, shape });
    layers.push({ name: `${name}.bias`, shape: shape.slice(-1) });
  };
  for (let block = 0; block < BLOCKS; block++) {
    withBias(`h.${block}.ln_1`, [WIDTH]);
    withBias(`h.${block}.attn.c_attn`, [WIDTH, 3 * WIDTH]);
    withBias(`h.${block}.attn.c_proj`, [WIDTH, WIDTH]);
    withBias(`h.${block}.ln_2`, [WIDTH]);
    withBias(`h.${block}.mlp.c_fc`, [WIDTH, 4 * WIDTH]);
    withBias(`h.${block}.mlp.c_proj`, [4 * WIDTH, WIDTH]);
  }
  withBias("ln_f", [WIDTH]);
  return layers;
}
