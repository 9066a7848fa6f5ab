/** Sizes of LeNet's layers for images of one size. */
import { UsageError } from "../errors.js";
import type { ModelConfig } from "./model.js";

/** A convolution of 5 × 5. */
export interface ConvolutionSizes {
  /** Of its output. */
  height: number;
  width: number;
  channels: number;
  inputChannels: number;
  /** Values of a patch: 25 places in all input channels. */
  patchSize: number;
  /** patchSize, the place of the bias, and zeros up to a multiple of 4. */
  patchColumns: number;
  /** Places of a patch: 25. */
  window: number;
}

export interface LenetSizes {
  first: ConvolutionSizes;
  second: ConvolutionSizes;
  /** Values that the first dense layer sees. */
  flat: number;
}

export const KERNEL = 5;
/** Around the image, so that the first convolution keeps its size. */
export const BORDER = 2;
const FIRST_CHANNELS = 6;
const SECOND_CHANNELS = 16;
export const DENSE_SIZES = [120, 84];

/** @throws UsageError for tables, and for images that do not divide by 4 */
export function lenetSizes({ featureShape }: ModelConfig): LenetSizes {
  const [height = 0, width = 0] = featureShape;
  const isRight = (size: number): boolean => size % 4 === 0 && size >= 12;
  if (featureShape.length !== 2 || !isRight(height) || !isRight(width)) {
    const got =
      featureShape.length === 2 ? `images of ${height} × ${width}` : `${height} columns of a table`;
    throw new UsageError(
      `--model lenet: expected images with sides of 12, 16, 20, … pixels, got ${got}`,
    );
  }
  const first = convolution({ height, width, channels: FIRST_CHANNELS, inputChannels: 1 });
  const second = convolution({
    height: height / 2 - (KERNEL - 1),
    width: width / 2 - (KERNEL - 1),
    channels: SECOND_CHANNELS,
    inputChannels: FIRST_CHANNELS,
  });
  return { first, second, flat: (SECOND_CHANNELS * second.height * second.width) / 4 };
}

function convolution(
  sizes: Pick<ConvolutionSizes, "height" | "width" | "channels" | "inputChannels">,
): ConvolutionSizes {
  const window = KERNEL * KERNEL;
  const patchSize = window * sizes.inputChannels;
  return {
    ...sizes,
    patchSize,
    patchColumns: nextMultipleOf4(patchSize + 1),
    window,
  };
}

export function nextMultipleOf4(size: number): number {
  return 4 * Math.ceil(size / 4);
}
