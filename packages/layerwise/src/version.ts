/** The library's version, as in package.json: a bundle has no package.json to read. */
export const VERSION = "0.1.0";
