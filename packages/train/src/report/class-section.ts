/** The section on classes: accuracy of each, and the confusion matrix. */
import { MAX_CLASSES } from "../confusion.js";
import type { ClassCount, Confusion } from "../confusion.js";
import type { OptimizerName } from "../optimizers/names.js";
import type { OptimizerHistory } from "../run-history.js";
import { grouped, percent } from "../text.js";
import type { Section } from "./chart.js";
import { escapeHtml, htmlTable, scrollBox, swatch } from "./html.js";
import { placeOf } from "./looks.js";

/** Classes and kinds of mistakes that are listed where there are too many classes for a matrix. */
const LISTED = 20;
/** Class names are cut in headings; the full name is in the cell's title. */
const MAX_NAME = 40;

/** The part of a row that has the full colour, if no mistake is more frequent: good models stay pale. */
const LEAST_SCALE = 0.05;

interface Classified {
  name: OptimizerName;
  confusion: Confusion;
}

/** Empty before the first epoch. */
export function classSections(
  classes: readonly string[],
  runs: readonly OptimizerHistory[],
): Section[] {
  const classified = runs.flatMap(({ name, lastEpoch }): Classified[] => {
    const confusion = lastEpoch?.confusion;
    return confusion === undefined ? [] : [{ name, confusion }];
  });
  if (classified.length === 0) return [];
  const isSmall = classes.length <= MAX_CLASSES;
  const findings = classified.map((own) => findingOf(own, classes));
  const body = isSmall
    ? `<h3>Accuracy of each class</h3><p>The bars show the part that is wrong.</p>${classTable(classes, classified)}<div class="half">${classified
        .map((own) => matrix(own, classes))
        .join("")}</div>`
    : classified.map((own) => worstTables(own, classes)).join("");
  return [
    {
      id: "classes",
      heading: "Classes and mistakes",
      note: isSmall
        ? "Test samples after the last epoch. Rows of a matrix are the true classes, columns are the predictions; the stronger the colour, the larger the part of its row."
        : `Test samples after the last epoch. Of ${grouped(classes.length)} classes, those with the lowest accuracy are listed.`,
      charts: [],
      html: `${findings.map((text) => `<p class="finding">${escapeHtml(text)}</p>`).join("")}${body}`,
    },
  ];
}

function accuracyOf({ samples, correct }: ClassCount): number | null {
  return samples === 0 ? null : correct / samples;
}

function nameOf(classes: readonly string[], index: number): string {
  return classes[index] ?? `class ${index}`;
}

/** The hardest class, and its most frequent wrong prediction. */
function findingOf({ name, confusion }: Classified, classes: readonly string[]): string {
  const [worst] = confusion.classes
    .filter(({ samples }) => samples > 0)
    .toSorted((a, b) => accuracyOf(a)! - accuracyOf(b)!);
  if (worst === undefined) return `${name}: the test set is empty.`;
  if (worst.correct === worst.samples) return `${name}: every test sample is right.`;
  const [mistake] = confusion.mistakes.filter((candidate) => candidate.class === worst.class);
  const takenFor =
    mistake === undefined
      ? ""
      : `, most often taken for ${nameOf(classes, mistake.predicted)} (${mistake.samples} of ${worst.samples})`;
  return `${name}: the hardest class is ${nameOf(classes, worst.class)}, with ${percent(accuracyOf(worst)!)}${takenFor}.`;
}

function classTable(classes: readonly string[], classified: readonly Classified[]): string {
  const most = mostMistakes(classified);
  return htmlTable({
    label: "Accuracy of each class",
    head: [
      "class",
      "test samples",
      ...classified.map(({ name }) => swatch(`optimizer-${placeOf(name)}`, name)),
    ],
    rows: classes.map((text, index) => {
      const counts = classified.map(({ confusion }) => confusion.classes[index]);
      return [
        className(text),
        grouped(counts[0]?.samples ?? 0),
        ...counts.map((count, place) =>
          accuracyCell(count, { optimizer: classified[place]!.name, most }),
        ),
      ];
    }),
  });
}

/** The largest part of a class that is wrong, which the longest bar stands for. */
function mostMistakes(classified: readonly Classified[]): number {
  const parts = classified.flatMap(({ confusion }) =>
    confusion.classes.map((count) => 1 - (accuracyOf(count) ?? 1)),
  );
  return Math.max(...parts);
}

/** The accuracy, and a bar for what is wrong: accuracies are all alike, mistakes are not. */
function accuracyCell(
  count: ClassCount | undefined,
  { optimizer, most }: { optimizer: OptimizerName; most: number },
): string {
  const accuracy = count === undefined ? null : accuracyOf(count);
  if (accuracy === null) return "–";
  const share = most === 0 ? 0 : (100 * (1 - accuracy)) / most;
  const style = `--swatch:var(--optimizer-${placeOf(optimizer)});--share:${share.toFixed(1)}%`;
  return `${percent(accuracy)}<span class="share" style="${style}"></span>`;
}

function className(text: string): string {
  // By code points, which never split a surrogate pair.
  const letters = Array.from(text);
  if (letters.length <= MAX_NAME) return escapeHtml(text);
  return `<span title="${escapeHtml(text)}">${escapeHtml(letters.slice(0, MAX_NAME - 1).join(""))}…</span>`;
}

function matrix({ name, confusion }: Classified, classes: readonly string[]): string {
  const counts = new Map(
    confusion.mistakes.map((mistake) => [`${mistake.class} ${mistake.predicted}`, mistake.samples]),
  );
  const sizes = new Map(confusion.classes.map((count) => [count.class, count.samples]));
  const parts = confusion.mistakes.map((mistake) => mistake.samples / sizes.get(mistake.class)!);
  const most = Math.max(LEAST_SCALE, ...parts);
  // Short names fit above their columns; others are turned.
  const isTurned = classes.some((text) => text.length > 4);
  const head = classes
    .map((text) => {
      return `<th scope="col" class="class${isTurned ? " turned" : ""}"><span>${className(text)}</span></th>`;
    })
    .join("");
  const rows = confusion.classes.map((count) => {
    const cells = classes.map((_, predicted) => {
      const isRight = predicted === count.class;
      const samples = isRight ? count.correct : (counts.get(`${count.class} ${predicted}`) ?? 0);
      return matrixCell(samples, { isRight, of: count.samples, most });
    });
    return `<tr><th scope="row">${className(nameOf(classes, count.class))}</th>${cells.join("")}</tr>`;
  });
  const table = `<table class="matrix"><thead><tr><th scope="col">true \\ predicted</th>${head}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
  return `<div><h3>${swatch(`optimizer-${placeOf(name)}`, `${name}, confusion matrix`)}</h3>${scrollBox(`Confusion matrix of ${name}`, table)}</div>`;
}

/**
 * A cell whose colour grows with its share of the row. Mistakes are rare beside right answers, so their square
 * root is shown, relative to the most frequent.
 */
function matrixCell(
  samples: number,
  { isRight, of, most }: { isRight: boolean; of: number; most: number },
): string {
  if (samples === 0) return `<td class="zero">0</td>`;
  const part = isRight ? samples / of : Math.sqrt(samples / of / most);
  // Beyond 45 % of the colour the number in the cell would be hard to read.
  const share = (45 * part).toFixed(0);
  return `<td class="${isRight ? "right" : "wrong"}" style="--share:${share}%">${samples}</td>`;
}

/** For thousands of classes: the worst of them, and the most frequent mistakes. */
function worstTables({ name, confusion }: Classified, classes: readonly string[]): string {
  const { mistakes, omitted } = confusion;
  const listed = confusion.classes.slice(0, LISTED);
  const most = mostMistakes([{ name, confusion }]);
  const worst = htmlTable({
    label: `Classes with the lowest accuracy with ${name}`,
    head: ["class", "test samples", "accuracy"],
    rows: listed.map((count) => [
      className(nameOf(classes, count.class)),
      grouped(count.samples),
      accuracyCell(count, { optimizer: name, most }),
    ]),
  });
  const frequent = htmlTable({
    label: `The most frequent mistakes of ${name}`,
    head: ["true class", "predicted", "test samples"],
    texts: 2,
    rows: mistakes
      .slice(0, LISTED)
      .map((mistake) => [
        className(nameOf(classes, mistake.class)),
        className(nameOf(classes, mistake.predicted)),
        grouped(mistake.samples),
      ]),
  });
  const kinds = mistakes.length + omitted.mistakes;
  return `<h3>${swatch(`optimizer-${placeOf(name)}`, name)}</h3><div class="half"><div><p>The ${listed.length} classes with the lowest accuracy, of ${grouped(classes.length)}.</p>${worst}</div><div><p>The most frequent of ${grouped(kinds)} kinds of mistakes.</p>${frequent}</div></div>`;
}
