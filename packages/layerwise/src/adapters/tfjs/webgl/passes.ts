/**
 * The two passes on WebGL, by shaders of our own. Measuring reads gradient, weights and momentum once; applying makes the
 * new momentum, and from it the new weights and, with 8 bits, absmax and codes.
 */
import type { StepNorms } from "../device/decide.js";
import { PACKED_FOR_TEXELS } from "../device/momentum.js";
import type { DeviceBlockwiseMomentum, DeviceMomentum } from "../device/momentum.js";
import type {
  Decided,
  DevicePasses,
  LayerPasses,
  LayerTensors,
  NormsWanted,
} from "../device/passes.js";
import type { DeviceEquation } from "../device/scales.js";
import { factorsOf, variantOf } from "../shaders/equation.js";
import type { Factors } from "../shaders/equation.js";
import { GLSL } from "../shaders/language.js";
import type { Tensor, TensorFlow, TensorInfo } from "../tensorflow.js";
import { texelShape, WebGLRunner } from "./backend.js";
import type { Shader, Uniform, WebGLBackend } from "./backend.js";
import { absmaxCode, codesCode, tablesOn, tableUniforms, touchedCode } from "./codes.js";
import { DecidedTexels } from "./decided.js";
import { layoutOf } from "./layout.js";
import type { Layout } from "./layout.js";
import { WebGLNorms } from "./norms.js";
import { measureCode, momentumCode, readsGradient, weightsCode } from "./shaders.js";
import type { Variant } from "./shaders.js";

/** Texels that a partial result is over, at least, and how many partial results there are in a row and a column, at most. */
const MEASURED = 256;
const MOST_IN_ROW = 64;

export class WebGLPasses implements DevicePasses {
  readonly packing = PACKED_FOR_TEXELS;
  readonly #tf: TensorFlow;
  readonly #runner: WebGLRunner;
  readonly #decided: DecidedTexels;

  constructor(tf: TensorFlow, backend: WebGLBackend) {
    this.#tf = tf;
    this.#runner = new WebGLRunner(tf, backend);
    this.#decided = new DecidedTexels(this.#runner);
  }

  begin(tensors: LayerTensors): LayerPasses {
    return new WebGLLayerPasses(this.#runner, this.#decided, tensors);
  }

  norms(measured: readonly Tensor[]): StepNorms {
    return new WebGLNorms(this.#tf, this.#runner, measured);
  }
}

class WebGLLayerPasses implements LayerPasses {
  readonly #runner: WebGLRunner;
  readonly #decided: DecidedTexels;
  readonly #tensors: LayerTensors;
  readonly #layout: Layout;

  constructor(runner: WebGLRunner, decided: DecidedTexels, tensors: LayerTensors) {
    this.#runner = runner;
    this.#decided = decided;
    this.#tensors = tensors;
    this.#layout = layoutOf(tensors.variable.shape);
  }

  measure({ weights, update, momentum, scales }: NormsWanted): Tensor {
    const stored = update !== null && momentum ? this.#tensors.momentum : null;
    const factors = factorsOf(GLSL, update);
    const looksAt = this.#momentum(stored);
    const [, , texels] = this.#layout.extent.values;
    const side = Math.min(MOST_IN_ROW, Math.ceil(Math.sqrt(texels! / MEASURED)));
    const shape = [2 * side, 2 * side];
    return this.#runner.run({
      inputs: {
        g: this.#runner.aligned(this.#tensors.gradient),
        ...(weights || update !== null ? { w: this.#runner.aligned(this.#tensors.variable) } : {}),
        ...looksAt.inputs,
        ...(factors.looksUp ? { decided: this.#decided.of({ scales, isFinite: null }) } : {}),
      },
      uniforms: [this.#layout.extent, ...looksAt.uniforms, ...numbersOf(factors)],
      code: measureCode({
        ...this.#variant(update, factors, stored),
        ...{ weights, update: update !== null },
      }),
      ...{ texels: texelShape(shape), shape, dtype: "float32" },
    });
  }

  apply(equation: DeviceEquation, decided: Decided): DeviceMomentum | null {
    const { variable, momentum } = this.#tensors;
    const next = momentum === null ? null : this.#next(momentum, equation, decided);
    variable.assign(this.#weights(next, equation, decided));
    if (next === null || momentum === null) return null;
    if (momentum.kind === "float32") return { kind: "float32", values: next };
    const encoded = this.#encoded(momentum, next, { equation, decided });
    // Not at the end of the step: its texture is there for the next layer, and 8 bits need no more memory for all of them.
    next.dispose();
    return encoded;
  }

  /** m', as float32. */
  #next(before: DeviceMomentum, equation: DeviceEquation, decided: Decided): Tensor {
    const factors = factorsOf(GLSL, equation);
    const looksAt = this.#momentum(before);
    return this.#overLayer({
      inputs: {
        g: this.#runner.aligned(this.#tensors.gradient),
        w: this.#runner.aligned(this.#tensors.variable),
        ...looksAt.inputs,
        decided: this.#decided.of(decided),
      },
      uniforms: [this.#layout.extent, ...looksAt.uniforms, ...numbersOf(factors)],
      code: momentumCode(this.#variant(equation, factors, before)),
    });
  }

  /** w'. */
  #weights(next: Tensor | null, equation: DeviceEquation, decided: Decided): Tensor {
    const factors = factorsOf(GLSL, equation);
    const momentum = next === null ? null : ({ kind: "float32", values: next } as const);
    const variant = this.#variant(equation, factors, momentum);
    return this.#overLayer({
      inputs: {
        w: this.#runner.aligned(this.#tensors.variable),
        ...(readsGradient(variant) ? { g: this.#runner.aligned(this.#tensors.gradient) } : {}),
        ...this.#momentum(momentum).inputs,
        decided: this.#decided.of(decided),
      },
      uniforms: [this.#layout.extent, ...numbersOf(factors)],
      code: weightsCode(variant),
    });
  }

  #encoded(
    before: DeviceBlockwiseMomentum,
    next: Tensor,
    {
      equation: { skipZeros },
      decided: { isFinite },
    }: { readonly equation: DeviceEquation; readonly decided: Decided },
  ): DeviceMomentum {
    const { edges, extent } = this.#layout;
    const ofBlocks = { uniforms: [extent, ...tableUniforms("absmax", before.absmax)] };
    const variant = { edges, skipZeros };
    const touched = skipZeros
      ? this.#runner.run({
          inputs: { g: this.#runner.aligned(this.#tensors.gradient) },
          ...{ ...ofBlocks, code: touchedCode(edges), ...sameAs(before.absmax) },
        })
      : null;
    const inputs = {
      m: this.#runner.aligned(next),
      ok: this.#runner.packed(isFinite),
      ...(touched === null ? {} : { touched: this.#runner.packed(touched) }),
    };
    const absmax = this.#runner.run({
      inputs: { ...inputs, absmax: this.#runner.packed(before.absmax) },
      ...{ ...ofBlocks, code: absmaxCode(variant), ...sameAs(before.absmax) },
    });
    const codes = this.#runner.run({
      inputs: { ...inputs, ...this.#codes({ ...before, absmax }) },
      uniforms: [extent, ...codesUniforms(before)],
      ...{ code: codesCode(variant), ...sameAs(before.codes) },
    });
    return { ...before, codes, absmax };
  }

  /** A shader that makes an array of the layer's shape. */
  #overLayer(shader: Pick<Shader, "inputs" | "uniforms" | "code">): Tensor {
    return this.#runner.run({ ...shader, ...sameAs(this.#tensors.variable) });
  }

  #momentum(momentum: DeviceMomentum | null): {
    readonly inputs: Readonly<Record<string, TensorInfo>>;
    readonly uniforms: readonly Uniform[];
  } {
    if (momentum === null) return { inputs: {}, uniforms: [] };
    const runner = this.#runner;
    if (momentum.kind === "float32") {
      return { inputs: { m: runner.aligned(momentum.values) }, uniforms: [] };
    }
    return { inputs: this.#codes(momentum), uniforms: codesUniforms(momentum) };
  }

  #codes({ codes, absmax }: DeviceBlockwiseMomentum): Readonly<Record<string, TensorInfo>> {
    const runner = this.#runner;
    const tables = tablesOn(runner.backend);
    return { codes: runner.packed(codes), absmax: runner.packed(absmax), tables };
  }

  #variant(
    equation: DeviceEquation | null,
    factors: Factors,
    momentum: DeviceMomentum | null,
  ): Variant {
    return {
      edges: this.#layout.edges,
      momentum: momentum?.kind ?? null,
      ...variantOf(equation, factors),
    };
  }
}

function codesUniforms({ codes, absmax }: DeviceBlockwiseMomentum): Uniform[] {
  return [...tableUniforms("codes", codes), ...tableUniforms("absmax", absmax)];
}

function sameAs({ shape }: Tensor): Pick<Shader, "texels" | "shape" | "dtype"> {
  return { texels: texelShape(shape), shape, dtype: "float32" };
}

function numbersOf({ numbers }: Factors): readonly Uniform[] {
  if (numbers.length === 0) return [];
  return [{ name: "numbers", type: "float", count: numbers.length, values: numbers }];
}
