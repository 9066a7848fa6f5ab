/** The section on the useful batch size. */
import type { NoiseMetrics } from "../metrics.js";
import { noiseSentence, noiseSummary } from "../noise.js";
import type { Plan } from "../plan.js";
import type { OptimizerHistory } from "../run-history.js";
import { grouped } from "../text.js";
import { placesOf, positive } from "./chart.js";
import type { Chart, Section } from "./chart.js";
import { escapeHtml, htmlTable, swatch } from "./html.js";
import { lookOf, placeOf } from "./looks.js";
import { kernelsOf } from "./shown-layers.js";

/** The newest estimate of an optimizer, null where batches are single micro-batches. */
function lastNoise({ steps }: OptimizerHistory): NoiseMetrics | null {
  return steps.values.findLast(({ noise }) => positive(noise?.scale) !== null)?.noise ?? null;
}

/** Empty when nothing was measured. */
export function noiseSections(plan: Plan, runs: readonly OptimizerHistory[]): Section[] {
  const measured = runs.flatMap((run) => {
    const [noise, summary] = [lastNoise(run), noiseSummary(run)];
    return noise === null || summary === null ? [] : [{ run, noise, summary }];
  });
  if (measured.length === 0) return [];
  const { batchSize } = plan.options;
  const findings = measured.map(({ run, summary }) => noiseSentence(run.name, summary, batchSize));
  return [
    {
      id: "noise",
      heading: "How large a batch is worth it",
      note: "The gradient noise scale is tr(Σ) / |G|²: the variance of the gradients of single samples over the squared norm of their mean. A batch of that size needs about twice as many steps as the largest batch would (McCandlish et al. 2018, arXiv 1812.06162). It usually grows in training.",
      charts: [
        noiseChart(
          measured.map(({ run }) => run),
          batchSize,
        ),
      ],
      html: `${findings.map((text) => `<p class="finding">${escapeHtml(text)}.</p>`).join("")}${layerTable(plan, measured)}`,
    },
  ];
}

function noiseChart(runs: readonly OptimizerHistory[], batchSize: number): Chart {
  const x = placesOf(runs.map(({ steps }) => steps.values.map(({ step }) => step)));
  const names = runs.map(({ name }) => name);
  const series = runs.map(({ name, steps }) => {
    const at = new Map(steps.values.map((line) => [line.step, line.noise?.scale]));
    return { ...lookOf(name, names), label: name, values: x.map((step) => positive(at.get(step))) };
  });
  const reference = {
    label: `batch size, ${grouped(batchSize)}`,
    values: x.map(() => batchSize),
    color: "reference" as const,
    dashed: true,
  };
  return {
    title: "Gradient noise scale",
    unit: "samples",
    xLabel: "step",
    x,
    series: [...series, reference],
    logY: true,
    cursor: "steps",
  };
}

function layerTable(
  { model }: Plan,
  measured: readonly { run: OptimizerHistory; noise: NoiseMetrics }[],
): string {
  const cell = ({ noise }: { noise: NoiseMetrics }, layer: string): string => {
    const scale = positive(noise.layers.find(({ name }) => name === layer)?.scale);
    return scale === null ? "–" : grouped(Number(scale.toPrecision(2)));
  };
  const layers = kernelsOf(model).filter((layer) =>
    measured.some(({ noise }) => noise.layers.some(({ name }) => name === layer)),
  );
  return htmlTable({
    label: "Gradient noise scale of each layer at the end, in samples",
    head: [
      "noise scale at the end, samples",
      ...measured.map(({ run }) => swatch(`optimizer-${placeOf(run.name)}`, run.name)),
    ],
    rows: [
      ["all layers", ...measured.map(({ noise }) => grouped(Number(noise.scale!.toPrecision(2))))],
      ...layers.map((layer) => [escapeHtml(layer), ...measured.map((own) => cell(own, layer))]),
    ],
  });
}
