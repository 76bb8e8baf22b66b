// `npm run fuzz [TARGET…] [-- --seconds N] [--seed S]`: random inputs against everything that parses bytes of a tool or an upstream.
import { messageOf } from "../../src/kit/platform-error.ts";
import { fuzz, targets } from "./rounds.ts";

const words = process.argv.slice(2);
const options = { seconds: 60, seed: Date.now() % 2 ** 32 };
const names: string[] = [];
for (let index = 0; index < words.length; index++) {
  const word = words[index] as string;
  const option = /^--(seconds|seed)(?:=(.*))?$/.exec(word);
  if (option === null) names.push(word);
  else options[option[1] as "seconds" | "seed"] = Number(option[2] ?? words[++index]);
}
const unknown = names.filter((name) => !Object.hasOwn(targets, name));
if (unknown.length > 0 || !(options.seconds > 0) || !Number.isInteger(options.seed)) {
  process.stderr.write(
    `fuzz: Expected [TARGET…] [--seconds N] [--seed S], targets out of ${Object.keys(targets).join(", ")}; got ${words.join(" ")}\n`,
  );
  process.exit(2);
}
const chosen = names.length === 0 ? Object.keys(targets) : names;
const milliseconds = (options.seconds * 1000) / chosen.length;
for (const name of chosen) {
  const { inputs, broken } = await fuzz(name, { milliseconds, seed: options.seed });
  if (broken === null) process.stdout.write(`${name}: ${inputs} inputs, nothing broken\n`);
  else {
    process.exitCode = 1;
    process.stdout.write(
      `${name}: BROKEN after ${inputs} inputs (seed ${options.seed}): ${messageOf(broken.error)}\n  ${broken.file}\n`,
    );
  }
}
