/** Checkpoints: an optimizer's state as a safetensors file, with space for weights. */
import {
  checkArray,
  checkBoolean,
  checkChoice,
  checkFields,
  checkObject,
  checkShape,
  refusal,
  shown,
  shownShape,
} from "../check.js";
import { HISTORY_LENGTH } from "../decide/percentile-clipping.js";
import { blockCount } from "./blockwise.js";
import { parseJson } from "./json.js";
import { decodeSafetensors, encodeSafetensors } from "./safetensors.js";
import type { Tensor } from "./safetensors.js";
import { checkedState } from "./saved-state.js";
import type { LayerState, StateDict } from "./saved-state.js";

/** Says in the metadata what the file is. */
const FORMAT = "layerwise.checkpoint";
const VERSION = "1";
/** Names of the state's tensors start with this; others may not. */
const PREFIX = "optimizer/";
const RESERVED = ["format", "version", "state"];

/** A tensor that is stored with the state, weights for example. */
export interface CheckpointTensor {
  shape: readonly number[];
  data: Float32Array;
}

/** What may be stored with the state. */
export interface CheckpointExtras {
  /** By name; a name may not start with "optimizer/". */
  tensors?: Record<string, CheckpointTensor>;
  /** Texts by name; "format", "version" and "state" are taken. */
  metadata?: Record<string, string>;
}

/** A state dictionary for `loadStateDict`, and what was stored with it. */
export interface Checkpoint extends StateDict, CheckpointExtras {}

/** What a layer's entry in the metadata says; its arrays are tensors. */
interface LayerEntry {
  name: string | null;
  shape: number[];
  step: number;
  momentum: "float32" | "blockwise" | null;
  gradientHistory: boolean;
}

/**
 * Writes a state dictionary as safetensors, readable by Python's `safetensors`: the tensors of layer i are
 * `optimizer/i/momentum` (F32), or `optimizer/i/codes` (U8) and `optimizer/i/absmax` (F32), and
 * `optimizer/i/gradientHistory` (F64).
 *
 * @param state what `stateDict()` returned
 * @throws TypeError or RangeError for a malformed state, tensor or text, for reserved names, and if names and
 *   metadata need a header of more than 16 MiB: nothing is written that {@link decodeCheckpoint} would not read
 * @example
 * const bytes = encodeCheckpoint(optimizer.stateDict(), { metadata: { epoch: "3" } });
 */
export function encodeCheckpoint(
  state: StateDict,
  extras: CheckpointExtras = {},
): Uint8Array<ArrayBuffer> {
  const { step, layers } = checkedState(state);
  const { tensors, metadata } = checkedExtras(extras);
  const entries = layers.map(({ name, shape, step, momentum, gradientHistory }): LayerEntry => ({
    name,
    shape,
    step,
    momentum: momentum?.kind ?? null,
    gradientHistory: gradientHistory !== null,
  }));
  return encodeSafetensors({
    metadata: {
      ...metadata,
      format: FORMAT,
      version: VERSION,
      state: JSON.stringify({ step, layers: entries }),
    },
    tensors: new Map<string, Tensor>([...tensors, ...layers.flatMap(layerTensors)]),
  });
}

interface CheckedExtras {
  tensors: [name: string, tensor: Tensor][];
  metadata: Record<string, string>;
}

/** A decoded checkpoint may be passed as extras: it has the state too. */
const EXTRAS_NAMES = ["tensors", "metadata", "step", "layers"];

function checkedExtras(given: unknown): CheckedExtras {
  const { tensors = {}, metadata = {} } = checkFields("extras", given, EXTRAS_NAMES);
  const texts = checkObject("metadata", metadata);
  for (const [name, text] of Object.entries(texts)) {
    if (RESERVED.includes(name)) {
      const expected = `a name other than ${RESERVED.join(", ")}`;
      throw new RangeError(refusal("metadata", name, expected));
    }
    if (typeof text !== "string") {
      throw new TypeError(refusal(`metadata: ${shown(name)}`, text, "a string"));
    }
  }
  return {
    tensors: Object.entries(checkObject("tensors", tensors)).map(([name, tensor]) => [
      name,
      checkedTensor(name, tensor),
    ]),
    metadata: texts as Record<string, string>,
  };
}

function checkedTensor(name: string, value: unknown): Tensor {
  if (name.startsWith(PREFIX) || name.startsWith("__")) {
    const expected = `a name that starts with neither ${shown(PREFIX)} nor "__"`;
    throw new RangeError(refusal("tensors", name, expected));
  }
  const what = `tensors: ${shown(name)}`;
  const { shape, data } = checkObject(what, value);
  const size = checkShape(`${what}: shape`, shape, { least: 0 });
  return {
    shape: shape as number[],
    data: checkArray(`${what}: data`, data, Float32Array, size),
  };
}

function layerTensors(layer: LayerState, index: number): [string, Tensor][] {
  const { shape, momentum, gradientHistory } = layer;
  const tensors: [string, Tensor][] = [];
  const add = (name: string, tensor: Tensor): unknown =>
    tensors.push([tensorName(index, name), tensor]);
  if (momentum?.kind === "float32") add("momentum", { shape, data: momentum.values });
  if (momentum?.kind === "blockwise") {
    add("codes", { shape, data: momentum.codes });
    add("absmax", { shape: [momentum.absmax.length], data: momentum.absmax });
  }
  if (gradientHistory !== null) {
    add("gradientHistory", { shape: [gradientHistory.length], data: gradientHistory });
  }
  return tensors;
}

function tensorName(index: number, name: string): string {
  return `${PREFIX}${String(index)}/${name}`;
}

/**
 * Reads what {@link encodeCheckpoint} wrote.
 *
 * @returns the state dictionary; with `tensors` and `metadata` if any were stored
 * @throws TypeError or RangeError that says what is wrong: not safetensors, truncated, another format or version,
 *   missing, extra or misshapen tensors, state that no run produces (NaN or infinite momentum, a negative absmax), a
 *   header of more than 16 MiB
 * @example
 * const { tensors, metadata, ...state } = decodeCheckpoint(bytes);
 * optimizer.loadStateDict(state);
 */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  const file = decodeSafetensors(bytes);
  const { format, version, state, ...metadata } = file.metadata;
  if (format !== FORMAT) {
    throw new RangeError(`checkpoint: format: expected ${shown(FORMAT)}, got ${shown(format)}`);
  }
  if (version !== VERSION) {
    throw new RangeError(`checkpoint: version: expected ${shown(VERSION)}, got ${shown(version)}`);
  }
  const remaining = new Map(file.tensors);
  const decoded = decodeState(state ?? "", remaining);
  const tensors = decodeExtras(remaining);
  return {
    ...decoded,
    ...(Object.keys(tensors).length > 0 ? { tensors } : {}),
    ...(Object.keys(metadata).length > 0 ? { metadata } : {}),
  };
}

/** The state, whose tensors are taken out of `tensors`. */
function decodeState(text: string, tensors: Map<string, Tensor>): StateDict {
  const { step, layers } = checkObject("checkpoint: state", parseJson("checkpoint: state", text));
  if (!Array.isArray(layers)) {
    throw new TypeError(refusal("checkpoint: state: layers", layers, "an array"));
  }
  return checkedState({
    step,
    layers: layers.map((value: unknown, index) => {
      const what = `checkpoint: layer ${String(index)}`;
      return decodeLayer({ what, index, entry: checkObject(what, value) }, tensors);
    }),
  });
}

/** A layer's place in the state, and what stands there. */
interface LayerPlace {
  what: string;
  index: number;
  entry: Partial<Record<keyof LayerEntry, unknown>>;
}

/** A layer as its entry describes it; checkedState checks the types and values of what is found. */
function decodeLayer({ what, index, entry }: LayerPlace, tensors: Map<string, Tensor>): unknown {
  const take = (name: string, shape: readonly number[]): Tensor["data"] => {
    const key = tensorName(index, name);
    const tensor = tensors.get(key);
    if (tensor === undefined) {
      throw new RangeError(`checkpoint: expected a tensor ${shown(key)}, got none`);
    }
    if (tensor.shape.join() !== shape.join()) {
      throw new RangeError(
        `checkpoint: tensor ${shown(key)}: shape: expected ${shownShape(shape)}, got ${shownShape(tensor.shape)}`,
      );
    }
    tensors.delete(key);
    return tensor.data;
  };
  const { name, step } = entry;
  const size = checkShape(`${what}: shape`, entry.shape, { least: 1 });
  const shape = entry.shape as number[];
  const kind =
    entry.momentum === null
      ? null
      : checkChoice(`${what}: momentum`, entry.momentum, ["float32", "blockwise"]);
  const momentum = {
    float32: () => ({ kind, values: take("momentum", shape) }),
    blockwise: () => ({
      kind,
      codes: take("codes", shape),
      absmax: take("absmax", [blockCount(size)]),
    }),
  };
  return {
    name,
    shape,
    step,
    momentum: kind === null ? null : momentum[kind](),
    gradientHistory: checkBoolean(`${what}: gradientHistory`, entry.gradientHistory)
      ? take("gradientHistory", [HISTORY_LENGTH])
      : null,
  };
}

function decodeExtras(tensors: ReadonlyMap<string, Tensor>): Record<string, CheckpointTensor> {
  return Object.fromEntries(
    [...tensors].map(([name, { shape, data }]) => {
      if (name.startsWith(PREFIX) || !(data instanceof Float32Array)) {
        throw new RangeError(
          `checkpoint: tensor ${shown(name)}: expected a float32 tensor or a layer's, got neither`,
        );
      }
      return [name, { shape, data }];
    }),
  );
}
