import * as z from "zod";

/** Where a secret is read again at every use, so that a change takes effect at once. It crosses inherited pipes only. */
export const SecretSource = z.discriminatedUnion("from", [
  z.strictObject({
    from: z.literal("file"),
    path: z.string().startsWith("/").describe("a mounted file; may be a link that is swapped"),
  }),
  z.strictObject({
    from: z.literal("exec"),
    command: z.string().min(1).describe("for /bin/sh; prints the secret and ends with 0"),
    cwd: z.string().startsWith("/"),
    env: z.record(z.string(), z.string()),
  }),
]);
export type SecretSource = z.infer<typeof SecretSource>;
