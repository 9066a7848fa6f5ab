/** The values that LeNet's convolutions multiply, written line by line as runs of samples. */
import type { Dataset } from "../data/dataset.js";
import { BORDER, KERNEL, nextMultipleOf4 } from "./lenet-sizes.js";
import type { ConvolutionSizes } from "./lenet-sizes.js";
import type { Batch } from "./model.js";

/** Rows that {@link Patches.values} has. */
export function patchRows({ inputHeight, lineSize, patchSize }: ConvolutionSizes): number {
  return inputHeight * lineSize + nextMultipleOf4(patchSize) - patchSize;
}

/**
 * Patches along the width, [input height, column of the kernel, input channel, width, samples]: 5 shifted
 * copies of every line. A patch of 5 lines needs no copies of its own: it is 5 lines that follow one
 * another. A few rows of zeros follow, so that there are also as many rows after the last patch as bring
 * its size to a multiple of 4.
 */
export class Patches {
  readonly values: Float32Array<ArrayBuffer>;
  readonly #sizes: ConvolutionSizes;
  readonly #samples: number;

  constructor(sizes: ConvolutionSizes, samples: number) {
    this.#sizes = sizes;
    this.#samples = samples;
    this.values = new Float32Array(patchRows(sizes) * sizes.width * samples);
  }

  /** Writes the patches of input line y, [input channel, input width, samples]. */
  setLine(y: number, line: Float32Array): void {
    const { width, inputWidth, inputChannels, lineSize } = this.#sizes;
    const run = width * this.#samples;
    let to = y * lineSize * run;
    for (let dx = 0; dx < KERNEL; dx++) {
      for (let channel = 0; channel < inputChannels; channel++) {
        const from = (channel * inputWidth + dx) * this.#samples;
        this.values.set(line.subarray(from, from + run), to);
        to += run;
      }
    }
  }
}

/** Standardised images [height, width, samples] with a border of 0, the mean. */
export class BorderedImages {
  readonly #values: Float32Array;
  readonly #sizes: ConvolutionSizes;
  readonly #samples: number;

  constructor(sizes: ConvolutionSizes, samples: number) {
    this.#sizes = sizes;
    this.#samples = samples;
    this.#values = new Float32Array(sizes.inputHeight * sizes.inputWidth * samples);
  }

  /** Samples beyond the batch become 0. */
  load({ samples: { features }, rows }: Batch, { mean, scale }: Pick<Dataset, "mean" | "scale">) {
    const { height, width, inputWidth } = this.#sizes;
    const size = height * width;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const to = ((y + BORDER) * inputWidth + x + BORDER) * this.#samples;
        const pixel = y * width + x;
        for (let sample = 0; sample < rows.length; sample++) {
          this.#values[to + sample] = (features[rows[sample]! * size + pixel]! - mean) * scale;
        }
        this.#values.fill(0, to + rows.length, to + this.#samples);
      }
    }
  }

  /** Line y with its border, [input width, samples]. */
  line(y: number): Float32Array {
    const size = this.#sizes.inputWidth * this.#samples;
    return this.#values.subarray(y * size, (y + 1) * size);
  }
}
