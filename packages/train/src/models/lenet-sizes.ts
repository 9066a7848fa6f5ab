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
  /** Of its input, border included. */
  inputHeight: number;
  inputWidth: number;
  /** Values of a patch of one line: 5 places in all input channels. */
  lineSize: number;
  /** Values of a patch: 5 lines. */
  patchSize: number;
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
  const lineSize = KERNEL * sizes.inputChannels;
  return {
    ...sizes,
    inputHeight: sizes.height + KERNEL - 1,
    inputWidth: sizes.width + KERNEL - 1,
    lineSize,
    patchSize: KERNEL * lineSize,
  };
}

export function nextMultipleOf4(size: number): number {
  return 4 * Math.ceil(size / 4);
}
