/** The column of classes: texts become codes while a table is read. */
import { UsageError } from "../errors.js";

/** A column with more values is hardly one of classes. */
const MAX_CLASSES = 1000;
/** Numbers have several spellings, such as 1 and 1.0. */
const MAX_SPELLINGS = 4 * MAX_CLASSES;

interface Spelling {
  text: string;
  line: number;
}

/** Collects the classes of a table's rows. */
export class ClassLabels {
  readonly #file: string;
  /** The column as messages name it. */
  readonly #column: string;
  readonly #codes = new Map<string, number>();
  readonly #spellings: Spelling[] = [];
  #rows = new Uint16Array(1024);
  #count = 0;

  constructor(file: string, column: string) {
    this.#file = file;
    this.#column = column;
  }

  get count(): number {
    return this.#count;
  }

  add(text: string, line: number): void {
    let code = this.#codes.get(text);
    if (code === undefined) {
      code = this.#spellings.length;
      if (text === "") {
        throw new UsageError(
          `${this.#file}, line ${line}: expected a class in ${this.#column}, got ""`,
        );
      }
      // A substring would keep its whole line in memory, so copy it.
      const own = Buffer.from(text).toString();
      if (code < MAX_SPELLINGS) this.#spellings.push({ text: own, line });
      else throw this.#tooMany(`more than ${MAX_SPELLINGS}`);
      this.#codes.set(own, code);
    }
    if (this.#count === this.#rows.length) {
      const larger = new Uint16Array(2 * this.#count);
      larger.set(this.#rows);
      this.#rows = larger;
    }
    this.#rows[this.#count++] = code;
  }

  /**
   * Numbers the classes, in the order of their numbers or of their words.
   *
   * @throws UsageError when there are fewer than two, too many, or numbers that would become one
   */
  finish(): { classes: string[]; labels: Uint16Array } {
    const numeric = this.#spellings.every(({ text }) => Number.isFinite(Number(text)));
    if (numeric) this.#checkNumbers();
    const names = this.#spellings.map(({ text }) => (numeric ? String(Number(text)) : text));
    const classes = [...new Set(names)].sort(
      numeric ? (a, b) => Number(a) - Number(b) : (a, b) => (a < b ? -1 : 1),
    );
    if (classes.length < 2) {
      throw new UsageError(
        `${this.#file}: expected two classes or more in ${this.#column}, got ${JSON.stringify(classes[0])} everywhere`,
      );
    }
    if (classes.length > MAX_CLASSES) throw this.#tooMany(String(classes.length));
    const codes = names.map((name) => classes.indexOf(name));
    const labels = this.#rows.subarray(0, this.#count);
    for (let row = 0; row < labels.length; row++) labels[row] = codes[labels[row]!]!;
    return { classes, labels };
  }

  #tooMany(count: string): UsageError {
    return new UsageError(
      `${this.#file}: expected at most ${MAX_CLASSES} classes in ${this.#column}, got ${count}`,
    );
  }

  /** 1 and 1.0 are one class; 7 and 007 may be two, and above 2^53 neighbours are the same number. */
  #checkNumbers(): void {
    const digits = new Map<number, Spelling>();
    for (const { text, line } of this.#spellings) {
      const value = Number(text);
      const where = `${this.#file}, line ${line}`;
      if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
        throw new UsageError(
          `${where}: expected a class below 2^53 or a word in ${this.#column}, got ${JSON.stringify(text)}`,
        );
      }
      const plain = withoutZeros(text);
      const before = digits.get(value);
      if (before !== undefined && withoutZeros(before.text) !== plain) {
        throw new UsageError(
          `${where}: expected one spelling of a class in ${this.#column}, got ${JSON.stringify(text)} after ${JSON.stringify(before.text)} in line ${before.line}`,
        );
      }
      if (before === undefined) digits.set(value, { text, line });
    }
  }
}

/** 1.50 → 1.5, 1.0 → 1; other texts stay. */
function withoutZeros(text: string): string {
  return /^-?\d+\.\d*$/.test(text) ? text.replace(/\.?0*$/, "") : text;
}
