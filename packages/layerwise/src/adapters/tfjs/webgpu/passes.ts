/**
 * The two passes on WebGPU, fused: shaders of our own in the backend's queue, on its buffers. Measuring reads
 * gradient, weights and momentum once; applying reads them once more and writes weights and momentum where they are.
 */
import { BLOCK_SIZE, createDynamicMap } from "../../../state/codebook.js";
import { TensorNorms } from "../device/decide.js";
import type { StepNorms } from "../device/decide.js";
import { PACKED_IN_FOURS } from "../device/momentum.js";
import type { DeviceMomentum } from "../device/momentum.js";
import type {
  Decided,
  DevicePasses,
  LayerPasses,
  LayerTensors,
  NormsWanted,
} from "../device/passes.js";
import type { DeviceEquation } from "../device/scales.js";
import { createCodeTable } from "../shaders/code-table.js";
import { factorsOf, variantOf } from "../shaders/equation.js";
import type { Factors } from "../shaders/equation.js";
import { WGSL } from "../shaders/language.js";
import type { Tensor, TensorFlow } from "../tensorflow.js";
import { WebGPURunner } from "./backend.js";
import type { Binding, WebGPUBackend } from "./backend.js";
import {
  APPLIED,
  applyCode,
  COMBINED,
  combineCode,
  GROUP_BLOCKS,
  MEASURED,
  measureCode,
  WORKGROUP,
} from "./shaders.js";
import type { Variant } from "./shaders.js";

/** Numbers of a partial result: ‖g‖, ‖w‖, ‖u‖, and 1 where all of g is finite. */
const PARTS = 4;

export class WebGPUPasses implements DevicePasses {
  readonly packing = PACKED_IN_FOURS;
  readonly #tf: TensorFlow;
  readonly #runner: WebGPURunner;

  constructor(tf: TensorFlow, backend: WebGPUBackend) {
    this.#tf = tf;
    this.#runner = new WebGPURunner(tf, backend);
  }

  begin(tensors: LayerTensors): LayerPasses {
    return new WebGPULayerPasses(this.#runner, tensors);
  }

  norms(measured: readonly Tensor[]): StepNorms {
    return new TensorNorms(this.#tf, measured);
  }
}

class WebGPULayerPasses implements LayerPasses {
  readonly #runner: WebGPURunner;
  readonly #tensors: LayerTensors;
  readonly #quads: number;

  constructor(runner: WebGPURunner, tensors: LayerTensors) {
    this.#runner = runner;
    this.#tensors = tensors;
    this.#quads = Math.ceil(tensors.gradient.size / 4);
  }

  measure({ weights, update, momentum, scales }: NormsWanted): Tensor {
    const { variable, gradient } = this.#tensors;
    const looksAtMomentum = update !== null && momentum;
    const stored = looksAtMomentum ? this.#tensors.momentum : null;
    const factors = factorsOf(WGSL, update);
    const variant = {
      ...this.#variant(update, stored, factors),
      ...{ weights, update: update !== null },
    };
    const groups = Math.ceil(this.#quads / (WORKGROUP * MEASURED));
    let partial = this.#runner.create([groups * WORKGROUP * PARTS]);
    const bindings: Binding[] = [
      { name: "result", access: "read_write", element: "vec4<f32>", of: partial },
      this.#array("g", gradient, "read"),
      ...(weights || update !== null ? [this.#array("w", variable, "read")] : []),
      ...this.#momentum(stored, "read"),
      ...factorBindings(factors, scales),
    ];
    const name = `measure${String(weights)}${String(update !== null)}${nameOf(variant)}`;
    this.#runner.run({ name, bindings, code: () => measureCode(variant) }, groups);
    while (partial.size > PARTS) partial = this.#combined(partial);
    return partial;
  }

  #combined(parts: Tensor): Tensor {
    const count = Math.ceil(parts.size / PARTS / COMBINED);
    const result = this.#runner.create([count * PARTS]);
    const bindings: Binding[] = [
      { name: "result", access: "read_write", element: "vec4<f32>", of: result },
      { name: "parts", access: "read", element: "vec4<f32>", of: parts },
    ];
    const shader = { name: "combine", bindings, code: combineCode };
    this.#runner.run(shader, Math.ceil(count / WORKGROUP));
    return result;
  }

  apply(equation: DeviceEquation, { scales, isFinite }: Decided): DeviceMomentum | null {
    const { variable, gradient } = this.#tensors;
    const weights = this.#runner.takeOver(variable);
    const momentum = this.#takenOver(this.#tensors.momentum);
    const factors = factorsOf(WGSL, equation);
    const variant = this.#variant(equation, momentum, factors);
    const bindings: Binding[] = [
      this.#array("w", weights, "read_write"),
      this.#array("g", gradient, "read"),
      ...this.#momentum(momentum, "read_write"),
      { name: "ok", access: "read", element: "u32", of: isFinite },
      ...factorBindings(factors, scales),
    ];
    const perGroup =
      momentum?.kind === "blockwise" ? (GROUP_BLOCKS * BLOCK_SIZE) / 4 : WORKGROUP * APPLIED;
    this.#runner.run(
      { name: `apply${nameOf(variant)}`, bindings, code: () => applyCode(variant) },
      Math.ceil(this.#quads / perGroup),
    );
    variable.assign(weights);
    return momentum;
  }

  #takenOver(momentum: DeviceMomentum | null): DeviceMomentum | null {
    if (momentum === null) return null;
    const runner = this.#runner;
    if (momentum.kind === "float32") {
      return { kind: "float32", values: runner.takeOver(momentum.values) };
    }
    const { codes, absmax } = momentum;
    return { ...momentum, codes: runner.takeOver(codes), absmax: runner.takeOver(absmax) };
  }

  get #inFours(): boolean {
    return this.#tensors.gradient.size % 4 === 0;
  }

  #array(name: string, of: Tensor, access: "read" | "read_write"): Binding {
    return { name, access, of, element: this.#inFours ? "vec4<f32>" : "f32" };
  }

  #momentum(momentum: DeviceMomentum | null, access: "read" | "read_write"): Binding[] {
    if (momentum === null) return [];
    if (momentum.kind === "float32") return [this.#array("m", momentum.values, access)];
    return [
      { name: "codes", access, element: "u32", of: momentum.codes },
      { name: "absmax", access, element: "f32", of: momentum.absmax },
      { name: "tables", access: "read", element: "f32", of: tablesOn(this.#runner.device) },
    ];
  }

  #variant(
    equation: DeviceEquation | null,
    momentum: DeviceMomentum | null,
    factors: Factors,
  ): Variant {
    return {
      inFours: this.#inFours,
      momentum: momentum?.kind ?? null,
      ...variantOf(equation, factors),
    };
  }
}

function nameOf({ isNesterov, skipZeros, factors }: Variant): string {
  return `,${String(isNesterov)},${String(skipZeros)},${factors.join()}`;
}

function factorBindings({ numbers }: Factors, scales: Tensor | null): Binding[] {
  if (numbers.length === 0) return [];
  const bindings: Binding[] = [{ name: "numbers", access: "uniform", numbers }];
  if (scales !== null)
    bindings.push({ name: "scales", access: "read", element: "f32", of: scales });
  return bindings;
}

/** `GPUBufferUsage`'s: TypeScript's library has no such object. */
const STORAGE = 0x80;
const COPY_DST = 0x8;

/** The codebook and what is needed to encode, on each device. They live as long as it does: 13 KB. */
const tables = new WeakMap<GPUDevice, GPUBuffer>();

function tablesOn(device: GPUDevice): GPUBuffer {
  const known = tables.get(device);
  if (known !== undefined) return known;
  const codebook = createDynamicMap() as Float32Array<ArrayBuffer>;
  const codes = createCodeTable() as Uint32Array<ArrayBuffer>;
  const size = codebook.byteLength + codes.byteLength;
  const buffer = device.createBuffer({ size, usage: STORAGE | COPY_DST });
  device.queue.writeBuffer(buffer, 0, codebook);
  device.queue.writeBuffer(buffer, codebook.byteLength, codes);
  tables.set(device, buffer);
  return buffer;
}
