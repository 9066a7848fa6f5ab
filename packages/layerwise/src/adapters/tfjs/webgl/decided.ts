/** What a step has decided, as shaders for WebGL look it up: scales, and whether anything is to be written. */
import type { Decided } from "../device/passes.js";
import type { Tensor, TensorInfo } from "../tensorflow.js";
import { INDEX, PLACE, texelShape } from "./backend.js";
import type { WebGLRunner } from "./backend.js";

/** Scales of a row of texels. */
const IN_ROW = 64;

/** The GLSL's `scale(at)`, which sets `ok` too: both are in a texel, so that one look is enough for both. */
export const DECIDED = `
float ok = 1.0;
float scale(float at) {
  float row = floor(at / ${String(IN_ROW)}.0);
  vec2 place = vec2(at - ${String(IN_ROW)}.0 * row, row);
  vec4 texel = texture(decided, (place + 0.5) / vec2(textureSize(decided, 0)));
  ok = texel.y;
  return texel.x;
}`;

/** Makes the shaders' `decided`, once for all layers of a step. */
export class DecidedTexels {
  readonly #runner: WebGLRunner;
  #last: {
    readonly scales: Tensor | null;
    readonly isFinite: Tensor | null;
    readonly texels: TensorInfo;
  } | null = null;

  constructor(runner: WebGLRunner) {
    this.#runner = runner;
  }

  /** @param isFinite null: not yet decided; nothing is written */
  of({
    scales,
    isFinite,
  }: Pick<Decided, "scales"> & { readonly isFinite: Tensor | null }): TensorInfo {
    const last = this.#last;
    if (last !== null && last.scales === scales && last.isFinite === isFinite) return last.texels;
    const shape = [2 * Math.ceil((scales?.size ?? 1) / IN_ROW), 2 * IN_ROW];
    const texels = this.#runner.run({
      inputs: {
        ...(scales === null ? {} : { scales: this.#runner.packed(scales) }),
        ...(isFinite === null ? {} : { finite: this.#runner.packed(isFinite) }),
      },
      ...{ uniforms: [], code: decidedCode(scales !== null, isFinite !== null) },
      ...{ texels: texelShape(shape), shape, dtype: "float32" },
    });
    this.#last = { scales, isFinite, texels };
    return texels;
  }
}

function decidedCode(hasScales: boolean, hasFinite: boolean): string {
  return `
${PLACE}
void main() {
  int at = ${INDEX};
  ${hasScales ? "vec4 two = texelOf(scales, at / 2);" : "vec4 two = vec4(1.0);"}
  float ok = ${hasFinite ? "texelOf(finite, 0).x" : "1.0"};
  setOutput(vec4((at & 1) == 0 ? two.x : two.y, ok, 0.0, 0.0));
}`;
}
