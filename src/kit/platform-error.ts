/** An error this project throws on purpose. Callers match on `code`; people read `message` and `fix`. */
export class PlatformError extends Error {
  readonly code: string;
  /** what the reader can do about it, as a short imperative sentence */
  readonly fix: string | undefined;
  /** the file, directory or field it is about */
  readonly path: string | undefined;
  /** whether the same request may succeed later, unchanged */
  readonly retryable: boolean;

  constructor(
    code: string,
    message: string,
    options: { fix?: string; path?: string; retryable?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.fix = options.fix;
    this.path = options.path;
    this.retryable = options.retryable ?? false;
  }

  override get name(): string {
    return this.constructor.name;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The errno name of a system error, such as `ENOENT`; undefined for other errors. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

/** What a person or another program is told of an error. */
export interface ErrorFacts {
  code: string;
  message: string;
  path?: string;
  fix?: string;
}

/** An error as plain data; `otherCode` is the code of one that was not thrown on purpose. */
export function errorFacts(error: unknown, otherCode = "internal"): ErrorFacts {
  if (!(error instanceof PlatformError)) return { code: otherCode, message: messageOf(error) };
  const { code, message, path, fix } = error;
  return {
    code,
    message,
    ...(path === undefined ? {} : { path }),
    ...(fix === undefined ? {} : { fix }),
  };
}
