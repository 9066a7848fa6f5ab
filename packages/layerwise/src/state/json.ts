/**
 * JSON from files that may be wrong in any way. JSON.parse takes some things without a word that are refused here:
 * names that stand twice in an object, of which it keeps the last, and lone surrogates. It is slow for text that is
 * all brackets or all names (8 and 16 s for 40 MB), so their number is limited before it is called.
 */
import { hasLoneSurrogate, shown } from "../check.js";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const [OPEN_BRACE, CLOSE_BRACE] = [0x7b, 0x7d];
const [OPEN_BRACKET, CLOSE_BRACKET] = [0x5b, 0x5d];

/** How deep objects and arrays may stand in each other. A checkpoint has four levels. */
const MOST_LEVELS = 8;
/** How many names an object may have: a checkpoint has one for each tensor. */
const MOST_NAMES = 2 ** 18;

/**
 * Parses JSON, after one pass over the text that looks for what JSON.parse would not refuse.
 *
 * @param what what the text is, for errors
 * @throws RangeError that says what is wrong
 */
export function parseJson(what: string, text: string): unknown {
  checkJson(what, text);
  try {
    return JSON.parse(text);
  } catch {
    throw noJson(what);
  }
}

function noJson(what: string): RangeError {
  return new RangeError(`${what}: expected JSON, got text that does not parse`);
}

/**
 * Refuses depth, too many names, names that stand twice and lone surrogates; all else that is wrong is left to
 * JSON.parse.
 */
export function checkJson(what: string, text: string): void {
  /** The names so far of each object that is open; null for an array. */
  const open: (Set<string> | null)[] = [];
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case OPEN_BRACE:
      case OPEN_BRACKET:
        open.push(text.charCodeAt(at) === OPEN_BRACE ? new Set() : null);
        if (open.length > MOST_LEVELS) {
          throw new RangeError(`${what}: expected at most ${String(MOST_LEVELS)} levels, got more`);
        }
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        open.pop();
        break;
      case QUOTE: {
        const end = endOfString(text, at);
        const value = unescaped(what, text.slice(at, end));
        const names = open.at(-1);
        // In JSON a colon follows names and nothing else.
        if (names && nextCharacter(text, end) === COLON) addName(what, names, value);
        at = end - 1;
        break;
      }
    }
  }
}

function addName(what: string, names: Set<string>, name: string): void {
  if (names.has(name)) {
    throw new RangeError(`${what}: expected each name once, got ${shown(name)} twice`);
  }
  names.add(name);
  if (names.size > MOST_NAMES) {
    const most = String(MOST_NAMES);
    throw new RangeError(`${what}: expected at most ${most} names in an object, got more`);
  }
}

/** Where the string that starts at a quote ends, its closing quote included. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at + 1;
    if (code === BACKSLASH) at++;
  }
  return text.length;
}

/** What a string with its quotes stands for. */
function unescaped(what: string, quoted: string): string {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  let value: string;
  try {
    value = JSON.parse(quoted) as string;
  } catch {
    throw noJson(what);
  }
  if (hasLoneSurrogate(value)) {
    throw new RangeError(`${what}: expected no lone surrogates, got ${shown(value)}`);
  }
  return value;
}

/** The first character from `at` on that is no white space. */
function nextCharacter(text: string, at: number): number {
  while (text.charCodeAt(at) <= 0x20) at++;
  return text.charCodeAt(at);
}
