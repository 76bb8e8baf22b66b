/** Parses one event line: its time field as it stands (v2 absolute, v3 interval), code and data; or what is wrong. */
export function parseEvent(
  text: string,
): { time: number; code: string; data: string } | { problem: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: "Expected an event as a JSON array, got text that is not JSON" };
  }
  if (!Array.isArray(value) || value.length !== 3)
    return { problem: "Expected an event of three fields: [seconds, code, data]" };
  const [time, code, data] = value as unknown[];
  if (typeof time !== "number" || !Number.isFinite(time))
    return { problem: "Expected the time of an event to be a number of seconds" };
  if (time < 0) return { problem: `Expected a time of at least 0, got ${time}` };
  if (typeof code !== "string" || !/^\p{L}$/u.test(code))
    return { problem: "Expected the code of an event to be one letter" };
  if (typeof data !== "string") return { problem: "Expected the data of an event to be text" };
  if (!data.isWellFormed()) return { problem: "Data holds half of a surrogate pair" };
  if (code === "r" && !isSize(data))
    return { problem: "Expected the data of a resize to be COLSxROWS, each from 1 to 65535" };
  // Negative ones are of Windows, and readers take them for 0.
  if (code === "x" && !/^-?[0-9]{1,10}$/.test(data))
    return { problem: "Expected the data of an exit to be a number" };
  return { time, code, data };
}

function isSize(data: string): boolean {
  const match = /^([0-9]{1,6})x([0-9]{1,6})$/.exec(data);
  return (
    match !== null &&
    [match[1], match[2]].every((cells) => Number(cells) >= 1 && Number(cells) <= 65_535)
  );
}

/** What is wrong with a time that makes a sum of microseconds no number can hold. */
export function beyondCount(seconds: number): string {
  return `Time is beyond what can be counted: ${seconds} s`;
}
