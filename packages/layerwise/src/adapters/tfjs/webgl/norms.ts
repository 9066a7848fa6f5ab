/** What a step decides by shaders on WebGL, for all layers at once: norms of what they measured, and trust ratios. */
import type { Quotient } from "../../../decide/rules/rule.js";
import { NO_LIMIT, UNIT } from "../device/decide.js";
import type { StepNorms } from "../device/decide.js";
import { GLSL } from "../shaders/language.js";
import { combinedNormsCode } from "../shaders/norms.js";
import type { Tensor, TensorFlow, TensorInfo } from "../tensorflow.js";
import { INDEX, PLACE, texelShape } from "./backend.js";
import type { Shader, WebGLRunner } from "./backend.js";
import { NORMS } from "./shaders.js";

/** Layers whose partial results one shader adds up: each is a texture, of which WebGL 2 allows 16. */
const ADDED_UP = 12;
/** Layers whose ratios one shader makes: each takes two uniforms, of which WebGL 2 allows 224. */
const DECIDED = 64;

/** The norms in one tensor: [2, 2·layers], so that texel i is ‖g‖, ‖w‖, ‖u‖ and "is finite" of layer i. */
export class WebGLNorms implements StepNorms {
  readonly #tf: TensorFlow;
  readonly #runner: WebGLRunner;
  readonly #all: Tensor;
  readonly #columns = new Map<string, Tensor>();
  readonly isFinite: Tensor;

  /** @param measured what the shaders that measure have made of each layer */
  constructor(tf: TensorFlow, runner: WebGLRunner, measured: readonly Tensor[]) {
    this.#tf = tf;
    this.#runner = runner;
    const parts = inGroups(measured, ADDED_UP).map((group) => addedUp(runner, group));
    this.#all = this.#joined(parts, 1);
    this.isFinite = runner.run({
      ...{ inputs: { norms: this.#texels }, uniforms: [], code: IS_FINITE },
      ...{ texels: texelShape([]), shape: [], dtype: "bool" },
    });
  }

  get #texels(): TensorInfo {
    return this.#runner.packed(this.#all);
  }

  get gradient(): Tensor {
    return this.#column("x");
  }

  get finite(): Tensor {
    return this.#column("w");
  }

  /** The twin of `evaluateQuotients`. */
  ratios(quotients: readonly (Quotient | null)[], clip: Tensor | null): Tensor {
    const clips = clip === null ? {} : { clips: this.#runner.packed(clip) };
    const parts = inGroups(quotients, DECIDED).map((group, index) => {
      const values = group.flatMap(numbersOf);
      return this.#runner.run(
        row(group.length, {
          inputs: { norms: this.#texels, ...clips },
          uniforms: [
            { name: "start", type: "int", values: [index * DECIDED] },
            { name: "quotients", type: "vec4", count: 2 * DECIDED, values },
          ],
          code: ratiosCode(clip !== null),
        }),
      );
    });
    return this.#joined(parts, 0);
  }

  #joined(parts: Tensor[], axis: number): Tensor {
    return parts.length === 1 ? parts[0]! : this.#tf.concat(parts, axis);
  }

  /** Made when it is asked for: most steps need few. */
  #column(component: string): Tensor {
    const layers = this.#all.size / 4;
    const known = this.#columns.get(component);
    const column =
      known ??
      this.#runner.run(
        row(layers, {
          inputs: { norms: this.#texels },
          uniforms: [],
          code: columnCode(component),
        }),
      );
    this.#columns.set(component, column);
    return column;
  }
}

function inGroups<Item>(items: readonly Item[], size: number): Item[][] {
  const count = Math.ceil(items.length / size);
  return Array.from({ length: count }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/** A shader that makes [length], two numbers a texel. */
function row(length: number, shader: Pick<Shader, "inputs" | "uniforms" | "code">): Shader {
  return { ...shader, texels: texelShape([length]), shape: [length], dtype: "float32" };
}

function addedUp(runner: WebGLRunner, measured: readonly Tensor[]): Tensor {
  const inputs = Object.fromEntries(
    measured.map((parts, i) => [`parts${String(i)}`, runner.packed(parts)]),
  );
  const shape = [2, 2 * measured.length];
  const code = addUpCode(measured.length);
  return runner.run({
    inputs,
    uniforms: [],
    code,
    texels: texelShape(shape),
    shape,
    dtype: "float32",
  });
}

/** One texel for each layer: the norms of its partial results, all of them in turn. */
function addUpCode(layers: number): string {
  const cases = Array.from({ length: layers }, (_, i) => {
    const name = String(i);
    return `if (layer == ${name}) { setOutput(addedUp(parts${name})); }`;
  });
  const loop = (body: string): string => `
  for (int y = 0; y < size.y; y++) {
    for (int x = 0; x < size.x; x++) {
      vec4 part = texelFetch(parts, ivec2(x, y), 0);
      ${body}
    }
  }`;
  return `
${NORMS}
vec4 addedUp(sampler2D parts) {
  ivec2 size = textureSize(parts, 0);
  ${combinedNormsCode(GLSL, { loop, end: (result) => `return ${result};` })}
}
void main() {
  int layer = ${INDEX};
  ${cases.join("\n  else ")}
}`;
}

const IS_FINITE = `
void main() {
  ivec2 size = textureSize(norms, 0);
  float finite = 1.0;
  for (int y = 0; y < size.y; y++) {
    for (int x = 0; x < size.x; x++) { finite = min(finite, texelFetch(norms, ivec2(x, y), 0).w); }
  }
  setOutput(vec4(finite, 0.0, 0.0, 0.0));
}`;

function columnCode(component: string): string {
  return `
${PLACE}
void main() {
  int layer = 2 * ${INDEX};
  setOutput(vec4(texelOf(norms, layer).${component}, texelOf(norms, layer + 1).${component}, 0.0, 0.0));
}`;
}

function numbersOf(quotient: Quotient | null): number[] {
  const { coefficient, gradient, weight, update, eps, limit, whenZero } = quotient ?? UNIT;
  return [coefficient, gradient, weight, update, eps, limit ?? NO_LIMIT, whenZero, 0];
}

function ratiosCode(isClipped: boolean): string {
  return `
${PLACE}
float weighed(float factor, float norm) {
  return factor == 0.0 ? 0.0 : factor * norm;
}
float ratioOf(int i) {
  vec4 norm = texelOf(norms, start + i);
  ${
    isClipped
      ? `vec4 clip = texelOf(clips, (start + i) / 2);
  norm.x *= ((start + i) & 1) == 0 ? clip.x : clip.y;`
      : ""
  }
  vec4 factors = quotients[2 * i];
  vec4 rest = quotients[2 * i + 1];
  float denominator = weighed(factors.y, norm.x) + rest.x;
  denominator = weighed(factors.z, norm.y) + denominator;
  denominator = weighed(factors.w, norm.z) + denominator;
  if (norm.y == 0.0 || denominator == 0.0) { return rest.z; }
  float ratio = norm.y * factors.x / denominator;
  if (rest.y < 0.0) { return ratio; }
  return ratio >= rest.y ? 1.0 : ratio / rest.y;
}
void main() {
  int i = 2 * ${INDEX};
  setOutput(vec4(ratioOf(i), ratioOf(i + 1), 0.0, 0.0));
}`;
}
