/**
 * The two passes on WebGPU, fused: shaders of our own in the backend's pipeline, on its device and its buffers.
 * Measuring reads gradient, weights and momentum once; applying reads and writes what it must. TensorFlow.js'
 * backend compiles them, keeps them and gives them tensors: `runWebGPUProgram` (tfjs-backend-webgpu 4.22).
 */
import type {
  Applied,
  DeviceEquation,
  DevicePasses,
  FlatTensors,
  Measured,
  NormsWanted,
} from "./device-passes.js";
import type { Backend, Tensor, TensorFlow, TensorInfo } from "./tensorflow.js";

/** What tfjs-backend-webgpu calls a WebGPUProgram. */
interface Program {
  readonly variableNames: readonly string[];
  readonly variableComponents: readonly number[];
  readonly outputShape: number[];
  readonly outputComponent: number;
  readonly workgroupSize: [number, number, number];
  readonly dispatchLayout: { x: number[] };
  /** Work groups; the backend makes two dimensions of more than one can have. */
  dispatch: [number, number, number];
  readonly shaderKey: string;
  getUserCode(): string;
}

interface WebGPUBackend extends Backend {
  runWebGPUProgram(
    program: Program,
    inputs: readonly TensorInfo[],
    outputType: "float32",
  ): TensorInfo;
}

const WORKGROUP = 64;
/** Elements that a thread measures: norms of so many are added up by the next pass. */
const MEASURED = 64;
/** Elements that a thread writes. */
const APPLIED = 8;

/** Numbers of a partial result: ‖g‖, ‖w‖, ‖u‖, and 1 where all of g is finite. */
const PARTS = 4;
/** The shader's name for partial results. */
const PARTIAL = "parts";

/**
 * The Euclidean norm of what a thread saw, from its sum of squares while that is well inside float32's range, else
 * from a second look, scaled. Shaders may take it that there is no NaN and no infinity: those are told by their bits.
 */
const NORMS = `
  fn isFiniteNumber(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
  }
  fn isInRange(largest: vec3<f32>) -> bool {
    return all((largest < vec3<f32>(1e15)) & ((largest > vec3<f32>(1e-12)) | (largest == vec3<f32>(0.0))));
  }
  fn scaleOf(largest: vec3<f32>) -> vec3<f32> {
    return select(vec3<f32>(1.0), largest, largest > vec3<f32>(0.0));
  }
`;

export class WebGPUPasses implements DevicePasses {
  readonly #tf: TensorFlow;
  readonly #backend: WebGPUBackend;

  constructor(tf: TensorFlow, backend: Backend) {
    this.#tf = tf;
    this.#backend = backend as WebGPUBackend;
  }

  /** Whether a backend is tfjs-backend-webgpu, in a version that runs programs. */
  static runsOn(name: string, backend: Backend): boolean {
    return name === "webgpu" && "runWebGPUProgram" in backend;
  }

  measure(tensors: FlatTensors, { weights, update }: NormsWanted): Measured {
    const tf = this.#tf;
    const inputs: Inputs = { g: tensors.gradient };
    if (weights || update !== null) inputs.w = tensors.weights;
    if (update !== null) {
      if (tensors.momentum !== null) inputs.m = tensors.momentum;
      inputs.factors = this.#factors(update);
    }
    let partial = this.#run(measureProgram(inputs, update, weights), inputs);
    while (partial.size > PARTS) {
      partial = this.#run(combineProgram(partial.size / PARTS), { [PARTIAL]: partial });
    }
    const part = (index: number): Tensor => tf.reshape(tf.slice(partial, index, 1), []);
    return {
      gradient: part(0),
      isFinite: tf.greater(part(3), 0),
      weights: weights ? part(1) : null,
      update: update === null ? null : part(2),
    };
  }

  apply(tensors: FlatTensors, equation: DeviceEquation, isFinite: Tensor): Applied {
    const tf = this.#tf;
    const inputs: Inputs = {
      g: tensors.gradient,
      w: tensors.weights,
      ...(tensors.momentum === null ? {} : { m: tensors.momentum }),
      factors: this.#factors(equation),
      // A cast would leave a buffer of integers as it is.
      ok: tf.reshape(tf.where(isFinite, tf.scalar(1), tf.scalar(0)), [1]),
    };
    if (tensors.momentum === null) {
      return { weights: this.#run(applyProgram("weights", inputs, equation), inputs), momentum: null };
    }
    const momentum = this.#run(applyProgram("momentum", inputs, equation), inputs);
    const isMomentum = equation.lookahead === 0 && !equation.skipZeros;
    // The update is the new momentum then: the gradient need not be read again.
    const { w, factors, ok } = inputs;
    const known: Inputs = isMomentum ? { w: w!, u: momentum, factors: factors!, ok: ok! } : inputs;
    const weights = this.#run(applyProgram("weights", known, equation), known);
    return { weights, momentum };
  }

  /** [6] float32, in the order in which shaders take them. */
  #factors(equation: DeviceEquation): Tensor {
    const tf = this.#tf;
    const { gradientFactor, weightFactor, decay, accumulation, lookahead, stepSize } = equation;
    return tf.stack(
      [gradientFactor, weightFactor, decay, accumulation, lookahead, stepSize].map((factor) =>
        typeof factor === "number" ? tf.scalar(factor) : factor,
      ),
    );
  }

  #run(program: Program, inputs: Readonly<Record<string, Tensor>>): Tensor {
    const info = this.#backend.runWebGPUProgram(program, Object.values(inputs), "float32");
    return this.#tf.engine().makeTensorFromTensorInfo(info);
  }
}

/** By the name that the shader has for each. */
type Inputs = Record<string, Tensor>;

/** What of an equation changes the shader, not its numbers. */
type Variant = Pick<DeviceEquation, "lookahead" | "skipZeros">;

function program(
  name: string,
  names: readonly string[],
  shape: { length: number; component: number; groups: number },
  code: string,
): Program {
  return {
    variableNames: names,
    variableComponents: names.map((input) => (input === PARTIAL ? PARTS : 1)),
    outputShape: [shape.length * shape.component],
    outputComponent: shape.component,
    workgroupSize: [WORKGROUP, 1, 1],
    dispatchLayout: { x: [0] },
    dispatch: [shape.groups, 1, 1],
    shaderKey: `layerwise_${name}`,
    getUserCode: () => code,
  };
}

/** (m', u) of element i. */
function updateOf(inputs: Inputs, { lookahead, skipZeros }: Variant): string {
  const m = "m" in inputs ? "m[i]" : "0.0";
  return `
  fn updateOf(i: i32) -> vec2<f32> {
    let direction = g[i] * factors[0] + w[i] * factors[1];
    let next = ${"m" in inputs ? "m[i] * factors[2] + direction * factors[3]" : "direction"};
    let update = ${lookahead === 0 ? "next" : "direction + next * factors[4]"};
    ${skipZeros ? `if (g[i] == 0.0) { return vec2<f32>(${m}, 0.0); }` : ""}
    return vec2<f32>(next, update);
  }`;
}

function variantKey({ lookahead, skipZeros }: Variant): string {
  return `${lookahead === 0 ? "" : "_nesterov"}${skipZeros ? "_skip" : ""}`;
}

/** Partial results of all threads: each looks at {@link MEASURED} elements, {@link WORKGROUP} apart. */
function measureProgram(inputs: Inputs, update: Variant | null, weights: boolean): Program {
  const { size } = inputs.g!;
  const groups = Math.ceil(size / (WORKGROUP * MEASURED));
  const key = `measure${weights ? "_w" : ""}${update === null ? "" : `_u${variantKey(update)}`}`;
  const code = `
  ${NORMS}
  ${update === null ? "" : updateOf(inputs, update)}
  fn magnitudes(i: i32) -> vec3<f32> {
    return abs(vec3<f32>(g[i], ${weights ? "w[i]" : "0.0"}, ${update === null ? "0.0" : "updateOf(i).y"}));
  }
  fn main(index: i32) {
    if (index >= uniforms.outShape / ${PARTS}) { return; }
    let base = (index / ${WORKGROUP}) * ${WORKGROUP * MEASURED} + index % ${WORKGROUP};
    let end = min(uniforms.gShape, base + ${WORKGROUP * MEASURED});
    var largest = vec3<f32>(0.0);
    var sums = vec3<f32>(0.0);
    var finite = 1.0;
    for (var i = base; i < end; i += ${WORKGROUP}) {
      let x = magnitudes(i);
      largest = max(largest, x);
      sums += x * x;
      if (!isFiniteNumber(g[i])) { finite = 0.0; }
    }
    var scale = vec3<f32>(1.0);
    if (!isInRange(largest)) {
      scale = scaleOf(largest);
      sums = vec3<f32>(0.0);
      for (var i = base; i < end; i += ${WORKGROUP}) {
        let x = magnitudes(i) / scale;
        sums += x * x;
      }
    }
    result[index] = vec4<f32>(scale * sqrt(sums), finite);
  }`;
  return program(key, Object.keys(inputs), { length: groups * WORKGROUP, component: PARTS, groups }, code);
}

/** Fewer partial results: a thread adds up {@link MEASURED} of them. */
function combineProgram(count: number): Program {
  const length = Math.ceil(count / MEASURED);
  const code = `
  ${NORMS}
  fn main(index: i32) {
    if (index >= uniforms.outShape / ${PARTS}) { return; }
    let base = index * ${MEASURED};
    let end = min(uniforms.${PARTIAL}Shape / ${PARTS}, base + ${MEASURED});
    var largest = vec3<f32>(0.0);
    var sums = vec3<f32>(0.0);
    var finite = 1.0;
    for (var i = base; i < end; i++) {
      let x = ${PARTIAL}[i].xyz;
      largest = max(largest, x);
      sums += x * x;
      finite = min(finite, ${PARTIAL}[i].w);
    }
    var scale = vec3<f32>(1.0);
    if (!isInRange(largest)) {
      scale = scaleOf(largest);
      sums = vec3<f32>(0.0);
      for (var i = base; i < end; i++) {
        let x = ${PARTIAL}[i].xyz / scale;
        sums += x * x;
      }
    }
    result[index] = vec4<f32>(scale * sqrt(sums), finite);
  }`;
  const groups = Math.ceil(length / WORKGROUP);
  return program("combine", [PARTIAL], { length, component: PARTS, groups }, code);
}

/** New weights, or new momentum; what was there where `ok` is 0. */
function applyProgram(of: "weights" | "momentum", inputs: Inputs, equation: Variant): Program {
  const { size } = inputs.w!;
  const isKnown = "u" in inputs;
  const update = isKnown ? "u[i]" : "updateOf(i).y";
  const value = of === "weights" ? `w[i] - ${update} * factors[5]` : "updateOf(i).x";
  const code = `
  ${isKnown ? "" : updateOf(inputs, equation)}
  fn main(index: i32) {
    let base = (index / ${WORKGROUP}) * ${WORKGROUP * APPLIED} + index % ${WORKGROUP};
    let end = min(uniforms.outShape, base + ${WORKGROUP * APPLIED});
    let write = ok[0] > 0.0;
    for (var i = base; i < end; i += ${WORKGROUP}) {
      result[i] = select(${of === "weights" ? "w[i]" : "m[i]"}, ${value}, write);
    }
  }`;
  const groups = Math.ceil(size / (WORKGROUP * APPLIED));
  const key = `apply_${of}${isKnown ? "" : variantKey(equation)}`;
  return program(key, Object.keys(inputs), { length: size, component: 1, groups }, code);
}
