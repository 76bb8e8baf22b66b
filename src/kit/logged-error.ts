/** Causes of causes end here. */
const MAX_DEPTH = 8;

/** An error as a log line has it: type, message, stack, its own fields such as `code` and `fix`, and its causes. */
export function loggedError(error: Error, depth = 0): object {
  const own = Object.fromEntries(Object.entries(error).filter(([name]) => name !== "cause"));
  const first = error.cause;
  const errors = error instanceof AggregateError ? (error.errors as unknown[]).slice(0, 10) : [];
  return {
    ...own,
    type: error.name,
    message: error.message,
    stack: error.stack,
    ...(first === undefined ? {} : { cause: nested(first, depth) }),
    ...(errors.length === 0 ? {} : { errors: errors.map((one) => nested(one, depth)) }),
  };
}

function nested(value: unknown, depth: number): unknown {
  if (!(value instanceof Error)) return value;
  return depth < MAX_DEPTH ? loggedError(value, depth + 1) : value.message;
}
