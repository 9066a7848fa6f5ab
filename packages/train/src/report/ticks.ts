/** Positions and labels of axis ticks. The page embeds this script. */

/** More labels are too close to each other on a chart 200 pixels high. */
const MAX_TICKS = 7;

/**
 * Round positions on a logarithmic axis: powers of ten, with 2 and 5 between them where these are few, and
 * evenly spaced numbers where less than a decade is shown. At least two wherever max is above min.
 */
export function logTicks(min: number, max: number): number[] {
  if (!(min > 0) || !(max > min)) return [min];
  const decades = Math.log10(max / min);
  if (decades < 1) return linearTicks(min, max);
  const first = Math.floor(Math.log10(min));
  const last = Math.ceil(Math.log10(max));
  const stride = Math.ceil(decades / MAX_TICKS);
  const factors = decades <= 3 ? [1, 2, 5] : [1];
  const ticks: number[] = [];
  for (let power = first; power <= last; power++) {
    if (power % stride !== 0) continue;
    for (const factor of factors) ticks.push(Number(`${factor}e${power}`));
  }
  const inside = ticks.filter((tick) => tick >= min && tick <= max);
  return inside.length >= 2 ? inside : [min, max];
}

/** Multiples of 1, 2 or 5 times a power of ten. */
function linearTicks(min: number, max: number): number[] {
  const rough = (max - min) / 4;
  const power = Math.floor(Math.log10(rough));
  const factor = [1, 2, 5].findLast((candidate) => candidate <= rough / 10 ** power) ?? 1;
  const step = factor * 10 ** power;
  const ticks: number[] = [];
  for (let count = Math.ceil(min / step); count * step <= max; count++) {
    // Removes the product's rounding error.
    ticks.push(Number((count * step).toPrecision(12)));
  }
  return ticks.filter((tick) => tick >= min && tick <= max);
}

/** Made once: toLocaleString makes a formatter for every number, which takes longer than an epoch of a small table. */
const FORMAT = new Intl.NumberFormat("en-US", { maximumFractionDigits: 8 });

/** A number in four digits: 1,235, 0.01235, 1.2e-5. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) {
    return value
      .toExponential(2)
      .replace(/\.?0+e/, "e")
      .replace("e+", "e");
  }
  const rounded = size >= 1000 ? Math.round(value) : Number(value.toPrecision(4));
  return FORMAT.format(rounded);
}
