/** Arrays that take several messages, since MPI counts with 32 bits. The limit is lowered from 1 GiB to 1,000 bytes. */
import { expect, it } from "vitest";
import { describeEach, mpirun, program } from "./helpers/mpirun.js";

describeEach("arrays longer than a message", (library) => {
  it.each([1, 2, 3, 4])("arrive whole on %i processes", async (size) => {
    const { code, stdout, stderr } = await mpirun(library, size, [program("messages")]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "right\n", stderr: "" });
  });
});
