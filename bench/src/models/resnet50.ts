/** The parameters of ResNet-50 (He et al. 2015), in the order and with the names of torchvision. */
import type { LayerShape } from "../problem.js";

const STAGES = [
  { blocks: 3, width: 64 },
  { blocks: 4, width: 128 },
  { blocks: 6, width: 256 },
  { blocks: 3, width: 512 },
];
const EXPANSION = 4;
const CLASSES = 1000;

export function resnet50(): LayerShape[] {
  const layers: LayerShape[] = [];
  const convolution = (name: string, from: number, to: number, side: number): void => {
    layers.push({ name: `${name}.weight`, shape: [to, from, side, side] });
  };
  const normalisation = (name: string, channels: number): void => {
    layers.push({ name: `${name}.weight`, shape: [channels] });
    layers.push({ name: `${name}.bias`, shape: [channels] });
  };

  convolution("conv1", 3, 64, 7);
  normalisation("bn1", 64);
  let channels = 64;
  STAGES.forEach(({ blocks, width }, stage) => {
    for (let block = 0; block < blocks; block++) {
      const name = `layer${stage + 1}.${block}`;
      convolution(`${name}.conv1`, channels, width, 1);
      normalisation(`${name}.bn1`, width);
      convolution(`${name}.conv2`, width, width, 3);
      normalisation(`${name}.bn2`, width);
      convolution(`${name}.conv3`, width, width * EXPANSION, 1);
      normalisation(`${name}.bn3`, width * EXPANSION);
      if (block === 0) {
        convolution(`${name}.downsample.0`, channels, width * EXPANSION, 1);
        normalisation(`${name}.downsample.1`, width * EXPANSION);
      }
      channels = width * EXPANSION;
    }
  });
  layers.push({ name: "fc.weight", shape: [CLASSES, channels] });
  layers.push({ name: "fc.bias", shape: [CLASSES] });
  return layers;
}
