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
/** Loads that a thread measures, of up to four elements: the next pass adds up what threads found. */
const MEASURED = 16;
/** Partial results that a thread adds up. */
const COMBINED = 64;
/** Loads that a thread writes. */
const APPLIED = 4;

/** Numbers of a partial result: ‖g‖, ‖w‖, ‖u‖, and 1 where all of g is finite. */
const PARTS = 4;
/** The shader's name for partial results. */
const PARTIAL = "parts";

/**
 * From a thread's sums of squares to norms. A sum well inside float32's range is right, and says that all elements
 * are finite; else there is a second look, scaled by the largest magnitude. Shaders may take it that there is no NaN
 * and no infinity, so both are told by their bits.
 */
const NORMS = `
  const LEAST = ${String(bitsOf(1e-20))}u;
  const MOST = ${String(bitsOf(1e35))}u;
  const NOT_FINITE = 0x7f800000u;
  fn bits(x: f32) -> u32 {
    return bitcast<u32>(x) & 0x7fffffffu;
  }
  fn isReliable(sum: f32) -> bool {
    return bits(sum) > LEAST && bits(sum) < MOST;
  }
  fn scaleOf(largest: vec3<f32>) -> vec3<f32> {
    return select(vec3<f32>(1.0), largest, largest > vec3<f32>(0.0));
  }
`;

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

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
      return {
        weights: this.#run(applyProgram("weights", inputs, equation), inputs),
        momentum: null,
      };
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

/** Inputs that are no arrays of the layer's size. */
const SMALL = ["factors", "ok"];

/** What of an equation changes the shader, not its numbers. */
type Variant = Pick<DeviceEquation, "lookahead" | "skipZeros">;

/** What is written, and by how many work groups. */
interface Output {
  readonly length: number;
  readonly component: 1 | 4;
  readonly groups: number;
}

function program(
  name: string,
  components: Readonly<Record<string, number>>,
  { length, component, groups }: Output,
  code: string,
): Program {
  return {
    variableNames: Object.keys(components),
    variableComponents: Object.values(components),
    outputShape: [length],
    outputComponent: component,
    workgroupSize: [WORKGROUP, 1, 1],
    dispatchLayout: { x: [0] },
    dispatch: [groups, 1, 1],
    shaderKey: `layerwise_${name}`,
    getUserCode: () => code,
  };
}

/** Elements a load: four where the size allows. */
function componentOf(size: number): 1 | 4 {
  return size % 4 === 0 ? 4 : 1;
}

function componentsOf(inputs: Inputs, component: 1 | 4): Record<string, number> {
  return Object.fromEntries(
    Object.keys(inputs).map((name) => [name, SMALL.includes(name) ? 1 : component]),
  );
}

const typeOf = (component: 1 | 4): string => (component === 4 ? "vec4<f32>" : "f32");

/** The factors, read once for all elements. */
function readFactors(inputs: Inputs): string {
  return "factors" in inputs
    ? [0, 1, 2, 3, 4, 5].map((i) => `let f${String(i)} = factors[${String(i)}];`).join("\n")
    : "";
}

/** `next` and `update`, m' and u of load i. */
function updateOf(inputs: Inputs, { lookahead, skipZeros }: Variant, component: 1 | 4): string {
  const zero = `${typeOf(component)}(0.0)`;
  const next = "m" in inputs ? "m[i] * f2 + direction * f3" : "direction";
  const ahead = lookahead === 0 ? "next" : "direction + next * f4";
  const kept = (value: string, old: string): string =>
    skipZeros ? `select(${value}, ${old}, g[i] == ${zero})` : value;
  return `
      let direction = g[i] * f0 + w[i] * f1;
      let next = ${next};
      let update = ${kept(ahead, zero)};
      let momentum = ${kept("next", "m" in inputs ? "m[i]" : "next")};
  `;
}

function variantKey({ lookahead, skipZeros }: Variant, component: 1 | 4): string {
  return `${lookahead === 0 ? "" : "_nesterov"}${skipZeros ? "_skip" : ""}_${String(component)}`;
}

/** Partial results of all threads: each looks at {@link MEASURED} loads, {@link WORKGROUP} apart. */
function measureProgram(inputs: Inputs, update: Variant | null, weights: boolean): Program {
  const { size } = inputs.g!;
  const component = componentOf(size);
  const groups = Math.ceil(size / component / (WORKGROUP * MEASURED));
  const type = typeOf(component);
  const total = (x: string): string => (component === 4 ? `dot(${x}, vec4<f32>(1.0))` : x);
  const highest = (x: string): string =>
    component === 4 ? `max(max(${x}.x, ${x}.y), max(${x}.z, ${x}.w))` : x;
  const evaluated = update === null ? "" : updateOf(inputs, update, component);
  const x = weights ? "w[i]" : `${type}(0.0)`;
  const u = update === null ? `${type}(0.0)` : "update";
  const loop = (body: string): string => `
    for (var i = base; i < end; i += ${String(WORKGROUP)}) {
      ${evaluated}
      ${body}
    }`;
  const code = `
  ${NORMS}
  fn main(index: i32) {
    if (index >= uniforms.outShape / ${String(PARTS)}) { return; }
    ${readFactors(inputs)}
    let base = (index / ${String(WORKGROUP)}) * ${String(WORKGROUP * MEASURED)} + index % ${String(WORKGROUP)};
    let end = min(uniforms.gShape / ${String(component)}, base + ${String(WORKGROUP * MEASURED)});
    var gg = ${type}(0.0);
    var ww = ${type}(0.0);
    var uu = ${type}(0.0);
    ${loop(`
      gg += g[i] * g[i];
      ${weights ? "ww += w[i] * w[i];" : ""}
      ${update === null ? "" : "uu += update * update;"}`)}
    let sums = vec3<f32>(${total("gg")}, ${total("ww")}, ${total("uu")});
    if (isReliable(sums.x)${weights ? " && isReliable(sums.y)" : ""}${update === null ? "" : " && isReliable(sums.z)"}) {
      result[index] = vec4<f32>(sqrt(sums), 1.0);
      return;
    }
    var largest = vec3<f32>(0.0);
    var finite = 1.0;
    ${loop(`
      let a = abs(g[i]);
      let b = abs(${x});
      let c = abs(${u});
      largest = max(largest, vec3<f32>(${highest("a")}, ${highest("b")}, ${highest("c")}));
      ${
        component === 4
          ? `if (any((bitcast<vec4<u32>>(a) & vec4<u32>(NOT_FINITE)) == vec4<u32>(NOT_FINITE))) { finite = 0.0; }`
          : `if (bits(a) >= NOT_FINITE) { finite = 0.0; }`
      }`)}
    let scale = scaleOf(largest);
    gg = ${type}(0.0);
    ww = ${type}(0.0);
    uu = ${type}(0.0);
    ${loop(`
      let a = g[i] / scale.x;
      let b = ${x} / scale.y;
      let c = ${u} / scale.z;
      gg += a * a;
      ww += b * b;
      uu += c * c;`)}
    result[index] = vec4<f32>(scale * sqrt(vec3<f32>(${total("gg")}, ${total("ww")}, ${total("uu")})), finite);
  }`;
  const key = `measure${weights ? "_w" : ""}${update === null ? "" : "_u"}`;
  return program(
    key + variantKey(update ?? { lookahead: 0, skipZeros: false }, component),
    componentsOf(inputs, component),
    { length: groups * WORKGROUP * PARTS, component: 4, groups },
    code,
  );
}

/** Fewer partial results. */
function combineProgram(count: number): Program {
  const length = Math.ceil(count / COMBINED);
  const code = `
  ${NORMS}
  fn main(index: i32) {
    if (index >= uniforms.outShape / ${String(PARTS)}) { return; }
    let base = index * ${String(COMBINED)};
    let end = min(uniforms.${PARTIAL}Shape / ${String(PARTS)}, base + ${String(COMBINED)});
    var largest = vec3<f32>(0.0);
    var finite = 1.0;
    for (var i = base; i < end; i++) {
      largest = max(largest, ${PARTIAL}[i].xyz);
      finite = min(finite, ${PARTIAL}[i].w);
    }
    let scale = scaleOf(largest);
    var sums = vec3<f32>(0.0);
    for (var i = base; i < end; i++) {
      let x = ${PARTIAL}[i].xyz / scale;
      sums += x * x;
    }
    result[index] = vec4<f32>(scale * sqrt(sums), finite);
  }`;
  const output = { length: length * PARTS, component: 4, groups: Math.ceil(length / WORKGROUP) };
  return program("combine", { [PARTIAL]: PARTS }, output as Output, code);
}

/** New weights, or new momentum; what was there where `ok` is 0. */
function applyProgram(of: "weights" | "momentum", inputs: Inputs, equation: Variant): Program {
  const { size } = inputs.w!;
  const component = componentOf(size);
  const isKnown = "u" in inputs;
  const old = of === "weights" ? "w[i]" : "m[i]";
  const value = of === "weights" ? `w[i] - ${isKnown ? "u[i]" : "update"} * f5` : "momentum";
  const code = `
  fn main(index: i32) {
    ${readFactors(inputs)}
    let base = (index / ${String(WORKGROUP)}) * ${String(WORKGROUP * APPLIED)} + index % ${String(WORKGROUP)};
    let end = min(uniforms.outShape / ${String(component)}, base + ${String(WORKGROUP * APPLIED)});
    let write = ok[0] > 0.0;
    for (var i = base; i < end; i += ${String(WORKGROUP)}) {
      ${isKnown ? "" : updateOf(inputs, equation, component)}
      result[i] = select(${old}, ${value}, write);
    }
  }`;
  const groups = Math.ceil(size / component / (WORKGROUP * APPLIED));
  return program(
    `apply_${of}${isKnown ? "_known" : ""}${variantKey(equation, component)}`,
    componentsOf(inputs, component),
    { length: size, component, groups },
    code,
  );
}
