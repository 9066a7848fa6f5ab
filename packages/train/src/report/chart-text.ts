/** Text alternatives of charts. */
import type { Chart, ChartSeries } from "./chart.js";
import { shortNumber } from "./ticks.js";

/** A sentence of what a chart shows: where each line begins and ends. */
export function describeChart({ title, unit, xLabel, x, series, logX, logY }: Chart): string {
  const axes = [
    logX === true ? `logarithmic ${xLabel}` : xLabel,
    ...(logY === true ? ["the y axis is logarithmic"] : []),
  ].join("; ");
  const what = `${title}${unit === "" ? "" : ` (${unit})`} over ${axes}.`;
  return [what, ...series.map((own) => describeSeries(own, x))].join(" ");
}

function describeSeries({ label, values }: ChartSeries, x: readonly number[]): string {
  const known = values.flatMap((value, index) =>
    value === null ? [] : [{ x: x[index]!, value: shortNumber(value) }],
  );
  const [first] = known;
  const last = known.at(-1);
  if (first === undefined || last === undefined) return `${label}: no values.`;
  if (known.every(({ value }) => value === first.value)) return `${label}: ${first.value}.`;
  const from = `${first.value} at ${shortNumber(first.x)}`;
  return `${label}: from ${from} to ${last.value} at ${shortNumber(last.x)}.`;
}
