/** Reports of runs that would take long to train, or have everything in them. */
import { countConfusion } from "../../dist/confusion.js";
import type { Dataset } from "../../dist/data/dataset.js";
import type { EpochMetrics, Metrics, StepMetrics } from "../../dist/metrics.js";
import type { OptimizerName } from "../../dist/optimizers/names.js";
import { checkOptions } from "../../dist/options.js";
import { makePlan } from "../../dist/plan.js";
import { reportHtml } from "../../dist/report/report.js";
import { kernelsOf, shownLayers } from "../../dist/report/shown-layers.js";
import { historyOf } from "../../dist/run-history.js";
import type { RateSearch } from "../../dist/search/rate-search.js";

/** Names that a stranger's data may have. */
export const EVIL = {
  script: '</script><script>alert("1")</script>',
  image: "<img src=x onerror=alert(2)>",
  attribute: "\"'><svg onload='alert(3)'>",
  comment: "<!--<script>",
  entity: "&lt;b&gt; &amp; \u2028 $& $1",
};

const CLASSES = [
  ...Object.values(EVIL),
  "a class whose name is as long as a sentence of this file",
];

function samples(count: number): Dataset["train"] {
  return {
    features: new Float32Array(4 * count),
    labels: Uint16Array.from({ length: count }, (_, index) => index % CLASSES.length),
  };
}

const dataset: Dataset = {
  name: EVIL.image,
  featureShape: [4],
  classes: CLASSES,
  train: samples(1200),
  test: samples(300),
  mean: 0,
  scale: 1,
};

const folder = { reportFile: "report.html" };

/** A report with every section: several layers, a noise scale, a search, mistakes and a failure. */
export function fullReport(): string {
  const optimizer: OptimizerName[] = ["lars", "lars32bit", "sgd", "lars8bit"];
  const options = checkOptions({
    optimizer,
    hidden: Array<number>(9).fill(8),
    ...{ batchSize: 120, epochs: 10 },
  });
  const plan = makePlan(options, dataset);
  const layers = kernelsOf(plan.model);
  const lines = optimizer.slice(0, 3).flatMap((name) => linesOf(name, { layers, steps: 100 }));
  const failed: Metrics = {
    kind: "failed",
    optimizer: "lars8bit",
    ...{ epoch: 1, step: 1, message: `lars8bit: ${EVIL.script}` },
  };
  const history = historyOf([...lines, failed], shownLayers(plan.model));
  const setting = { lr: 0.5, maxGradNorm: null };
  const settings = Object.fromEntries(optimizer.map((name) => [name, setting]));
  return reportHtml({ plan, settings, searches, dataset, folder }, history);
}

/** The report of one optimizer after some steps, 10 an epoch. */
export function longReport(steps: number): string {
  const plan = makePlan(checkOptions({ optimizer: "sgd", batchSize: 120 }), dataset);
  const lines = linesOf("sgd", { layers: kernelsOf(plan.model), steps });
  const history = historyOf(lines, shownLayers(plan.model));
  return reportHtml({ plan, settings: {}, searches: [], dataset, folder }, history);
}

/** lars and lars32bit do the same; times differ between all. */
function linesOf(
  optimizer: OptimizerName,
  { layers, steps }: { layers: readonly string[]; steps: number },
): Metrics[] {
  const speed = optimizer === "sgd" ? 1 : 2;
  return Array.from({ length: steps }, (_, index): Metrics[] => {
    const step = index + 1;
    const loss = 2 / (1 + (speed * step) / 30) + 0.1 * Math.sin(step);
    const place = { optimizer, epoch: Math.ceil(step / 10), step };
    const line: StepMetrics = {
      kind: "step",
      ...place,
      ...{ lr: 0.1, loss, gradNorm: 3 * loss, gradientMs: 10 + index, optimizerMs: speed },
      layers: layers.map((name, layer) => {
        const norms = { weightNorm: 10 + layer, gradNorm: loss / (layer + 1), updateNorm: loss };
        return { name, ...norms, trustRatio: speed === 1 ? 1 : 0.01 * step, clipScale: 1 };
      }),
      noise: {
        ...{ gradSquared: 0.1, trace: 9, scale: (90 * step) / steps },
        layers: layers.map((name, layer) => ({ name, scale: layer === 0 ? null : 10 * layer })),
      },
    };
    return step % 10 === 0 ? [line, epochLine(place, loss)] : [line];
  }).flat();
}

function epochLine(
  place: Pick<EpochMetrics, "optimizer" | "epoch" | "step">,
  loss: number,
): EpochMetrics {
  const { labels } = dataset.test;
  const predictions = labels.map((label, index) => (index % 7 === 0 ? (label + index) % 6 : label));
  return {
    kind: "epoch",
    ...place,
    ...{ trainLoss: loss, trainAccuracy: 1 - loss / 4, testLoss: loss, testAccuracy: 1 - loss / 3 },
    ...{ seconds: 1, samplesPerSecond: 1200, stateBytes: 4000 },
    confusion: countConfusion(labels, predictions, CLASSES.length),
  };
}

const trial = { rung: 0, batchSize: 120, steps: 10, loss: 0.5 };

const searches: RateSearch[] = [
  {
    optimizer: "sgd",
    heldOut: 200,
    trials: [0.3, null].flatMap((maxGradNorm) => [
      { ...trial, lr: 0.5, maxGradNorm, accuracy: 0.88 },
      { ...trial, lr: 1, maxGradNorm, accuracy: 0.9 },
      { ...trial, lr: 1, maxGradNorm, accuracy: 0.91, rung: 1, steps: 30 },
      { ...trial, lr: 2, maxGradNorm, accuracy: null, loss: null },
    ]),
    chosen: { lr: 1, maxGradNorm: 0.3 },
    ...{ atEdge: true, seconds: 12 },
  },
  {
    optimizer: "lars",
    heldOut: 200,
    trials: [0, 1, 2].flatMap((rung) =>
      [0.25, 0.5, 1, 2, 4].slice(rung, 5 - rung).map((lr, index) => {
        const accuracy = 0.9 + 0.02 * rung - 0.01 * Math.abs(index - 2 + rung);
        return { ...trial, lr, maxGradNorm: null, rung, steps: 10 * 2 ** rung, accuracy };
      }),
    ),
    chosen: { lr: 1, maxGradNorm: null },
    ...{ atEdge: false, seconds: 9 },
  },
];
