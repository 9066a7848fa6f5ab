/** How an optimizer looks: the same colour and marker in every chart and every report. */
import type { OptimizerName } from "../optimizers/names.js";
import type { ChartSeries } from "./chart.js";
import { MARKERS } from "./chart.js";

/** Palette indices. Optimizers that are compared most often differ most. */
const PLACES: Readonly<Record<OptimizerName, number>> = {
  lars8bit: 0,
  sgd: 1,
  lars32bit: 2,
  lars: 3,
  adamw: 4,
  "sgd-nesterov+clip": 5,
  "sgd-nesterov": 6,
  "sgd+clip": 7,
  "adamw+clip": 8,
  "lars8bit+clip": 9,
  "lars32bit+clip": 10,
  "lars+clip": 11,
};

/** How many colours there are for layers, from the first to the last. */
export const LAYER_COLORS = 8;

export function placeOf(optimizer: OptimizerName): number {
  return PLACES[optimizer];
}

type Look = Pick<ChartSeries, "color" | "marker" | "width">;

/**
 * The look of one of several optimizers in a chart. The first is drawn first and widest: where a later one
 * covers it, both can be seen.
 */
export function lookOf(optimizer: OptimizerName, optimizers: readonly OptimizerName[]): Look {
  const place = placeOf(optimizer);
  return {
    color: `optimizer-${place}`,
    marker: MARKERS[place % MARKERS.length]!,
    width: widthOf(optimizers.indexOf(optimizer), optimizers.length),
  };
}

/** Widths of lines that may lie on each other: the first is the widest. */
export function widthOf(index: number, count: number): number {
  const step = Math.min(2.5, 5 / Math.max(1, count - 1));
  return 2 + (count - 1 - index) * step;
}

/** The look of a layer: layers have an order, and so have their colours. */
export function layerLook(index: number, count: number): Look {
  const place = count === 1 ? 0 : Math.round((index * (LAYER_COLORS - 1)) / Math.max(1, count - 1));
  return { color: `layer-${place}`, marker: MARKERS[index % MARKERS.length]! };
}
