/** What a second process imports, as one file, so that it can have as many copies as there are programs. */
export * from "../../../src/checkpoint.js";
export * from "../../../src/index.js";
