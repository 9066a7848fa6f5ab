/**
 * Shaders of our own on TensorFlow.js' WebGL backend, run by its `compileAndRun`, its way for operations that users
 * add. Each writes one new tensor, from _packed_ textures: a texel holds two elements of a row and the two below them.
 *
 * Source: tfjs-backend-webgl 4.22 (`backend_webgl.ts`: `runWebGLProgram`; `gpgpu_math.ts`: `GPGPUProgram`).
 */
import type { Backend, Tensor, TensorFlow, TensorInfo } from "../tensorflow.js";

/** What the backend knows of a buffer. */
interface BufferData {
  /** Missing while the values are on the host. */
  readonly texture?: object | null;
  readonly isPacked?: boolean;
  /** Rows and columns of elements; two by two of them are in a packed texel. */
  readonly texShape?: readonly [number, number] | null;
}

/** The members of the backend that are used. */
export interface WebGLBackend extends Backend {
  readonly texData: { get(dataId: object): BufferData };
  compileAndRun(
    program: Program,
    inputs: readonly TensorInfo[],
    dtype: string,
    uniforms: readonly (readonly number[])[],
    keepPacked: boolean,
  ): TensorInfo;
  packTensor(tensor: TensorInfo): TensorInfo;
  makeTensorInfo(shape: readonly number[], dtype: string, values: Float32Array): TensorInfo;
}

const MEMBERS = ["texData", "compileAndRun", "packTensor", "makeTensorInfo"];

/**
 * The engine's backend, if it is tfjs-backend-webgl with all that is used of it, on WebGL 2, whose shaders see the bits
 * of numbers, and with textures of float32: some phones have only half of that.
 */
export function webGLBackendOf(tf: TensorFlow): WebGLBackend | null {
  const { backendName, backend } = tf.engine();
  if (backendName !== "webgl" || !MEMBERS.every((member) => member in backend)) return null;
  const hasAll =
    tf.env().getNumber("WEBGL_VERSION") === 2 && tf.env().getBool("WEBGL_RENDER_FLOAT32_ENABLED");
  return hasAll ? (backend as WebGLBackend) : null;
}

/** Numbers that a shader is given by the host: of GLSL's type, more than one where there is a count. */
export interface Uniform {
  readonly name: string;
  readonly type: "float" | "vec2" | "vec4" | "int" | "ivec4";
  readonly count?: number;
  readonly values: readonly number[];
}

export interface Shader {
  /** Textures, by the names that the code has for them. */
  readonly inputs: Readonly<Record<string, TensorInfo>>;
  readonly uniforms: readonly Uniform[];
  /** What it writes: the shape that says how elements lie in texels, and the shape of the tensor. */
  readonly texels: TexelShape;
  readonly shape: readonly number[];
  readonly dtype: "float32" | "bool";
  /** GLSL: its `main` calls `setOutput` with a texel, for the texel {@link INDEX}. */
  readonly code: string;
}

/** For GLSL: how many texels a row of the output has, and which one `main` writes. */
export const WIDTH = "((outTexShape[1] + 1) / 2)";
export const INDEX = `(int(gl_FragCoord.y) * ${WIDTH} + int(gl_FragCoord.x))`;

/** For GLSL: where texel i is in a texture of some width. */
export const PLACE = `
ivec2 place(int i, int width) {
  int y = i / width;
  return ivec2(i - y * width, y);
}
vec4 texelOf(sampler2D x, int i) {
  return texelFetch(x, place(i, textureSize(x, 0).x), 0);
}`;

/** [batch, rows, columns]: texels take two by two of a batch's rows and columns, so that other axes do not matter. */
export type TexelShape = readonly [number, number, number];

export function texelShape(shape: readonly number[]): TexelShape {
  const [rows, columns] = [shape.at(-2) ?? 1, shape.at(-1) ?? 1];
  return [shape.slice(0, -2).reduce((product, size) => product * size, 1), rows, columns];
}

/** The backend's `GPGPUProgram`. It keeps programs by their code, so the code says all in which they differ. */
class Program {
  readonly packedInputs = true;
  readonly packedOutput = true;
  /** One program for all sizes: they are uniforms, which are in the code otherwise. */
  readonly enableShapeUniforms = true;
  readonly variableNames: readonly string[];
  readonly outputShape: TexelShape;
  readonly userCode: string;
  readonly customUniforms: readonly { name: string; type: string; arrayIndex?: number }[];

  constructor({ inputs, uniforms, texels, code }: Shader) {
    this.variableNames = Object.keys(inputs);
    this.outputShape = texels;
    this.userCode = code;
    this.customUniforms = uniforms.map(({ name, type, count }) => ({
      ...{ name, type },
      ...(count === undefined ? {} : { arrayIndex: count }),
    }));
  }
}

/** A texture's rows and columns of texels. */
function textureSize(texShape: BufferData["texShape"]): string {
  return (texShape ?? []).map((size) => Math.ceil(size / 2)).join();
}

/** The same of outputs, by their shape. */
const outputSizes = new WeakMap<WebGLBackend, Map<string, string>>();

const ALIGN = `
${PLACE}
void main() { setOutput(texelOf(x, ${INDEX})); }`;

export class WebGLRunner {
  readonly #tf: TensorFlow;
  readonly #backend: WebGLBackend;
  readonly #packed = new Map<Tensor, TensorInfo>();
  readonly #aligned = new Map<Tensor, TensorInfo>();
  readonly #sizes: Map<string, string>;

  constructor(tf: TensorFlow, backend: WebGLBackend) {
    this.#tf = tf;
    this.#backend = backend;
    this.#sizes = outputSizes.get(backend) ?? new Map<string, string>();
    outputSizes.set(backend, this.#sizes);
  }

  get backend(): WebGLBackend {
    return this.#backend;
  }

  /**
   * A tensor for shaders to read, packed. The backend would pack it too, but again for each shader.
   * Within a step, whose tidy disposes of what is made.
   */
  packed(tensor: Tensor): TensorInfo {
    const known = this.#packed.get(tensor);
    if (known !== undefined) return known;
    const { dataId, shape, dtype } = tensor;
    const info = { dataId, shape: texelShape(shape), dtype };
    const { texture, isPacked } = this.#backend.texData.get(dataId);
    const packed = (texture ?? null) === null || isPacked === true ? info : this.#pack(info);
    this.#packed.set(tensor, packed);
    return packed;
  }

  /** The same, whose texels lie where an output's of the same shape do. Reshapes and slices may leave them elsewhere. */
  aligned(tensor: Tensor): TensorInfo {
    const known = this.#aligned.get(tensor);
    if (known !== undefined) return known;
    const packed = this.packed(tensor);
    const aligned = this.#isAligned(packed) ? packed : this.#align(packed);
    this.#aligned.set(tensor, aligned);
    return aligned;
  }

  #isAligned({ dataId, shape }: TensorInfo): boolean {
    const { texture, texShape } = this.#backend.texData.get(dataId);
    // What is yet to come from the host will lie as outputs do.
    if ((texture ?? null) === null && (texShape ?? null) === null) return true;
    return this.#sizes.get(shape.join()) === textureSize(texShape);
  }

  #align({ dataId, shape, dtype }: TensorInfo): TensorInfo {
    const aligned = this.run({
      ...{ inputs: { x: { dataId, shape, dtype } }, uniforms: [], code: ALIGN },
      ...{ texels: shape as TexelShape, shape, dtype: "float32" },
    });
    const { texShape } = this.#backend.texData.get(aligned.dataId);
    this.#sizes.set(shape.join(), textureSize(texShape));
    return aligned;
  }

  #pack(info: TensorInfo): TensorInfo {
    const packed = this.#backend.packTensor(info);
    this.#tf.engine().makeTensorFromTensorInfo(packed);
    return packed;
  }

  run(shader: Shader): Tensor {
    const { dataId } = this.#backend.compileAndRun(
      new Program(shader),
      Object.values(shader.inputs),
      shader.dtype,
      shader.uniforms.map(({ values }) => values),
      true,
    );
    const { shape, dtype } = shader;
    return this.#tf.engine().makeTensorFromTensorInfo({ dataId, shape, dtype });
  }
}
