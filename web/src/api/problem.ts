/** A failed request, in words for people and a code for programs. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    /** What is wrong and what to do. */
    readonly detail: string,
    /** The API's stable error code, or one of this console's: unreachable, unexpected. */
    readonly code: string,
    /** The HTTP status; 0 when there was no answer. */
    readonly status: number,
    /** Whether the same request may succeed later. */
    readonly retryable: boolean,
  ) {
    super(detail);
  }
}

/** The problem of a request that got no answer. */
export function unreachable(): Problem {
  return new Problem(
    "The StreamSpace server does not answer. Check that it is running and that the network is up.",
    "unreachable",
    0,
    true,
  );
}

/**
 * Reads the problem out of a refused answer's body: RFC 9457 JSON from the API,
 * anything else from whatever stands between.
 */
export function parseProblem(status: number, body: string): Problem {
  const fields = parseObject(body);
  const text = (key: string): string | undefined => {
    const value = fields[key];
    return typeof value === "string" && value !== "" ? value : undefined;
  };
  const retryable = fields["retryable"];
  return new Problem(
    text("detail") ?? text("title") ?? `The server answered with status ${status}.`,
    text("code") ?? (status === 401 ? "unauthenticated" : "unexpected"),
    status,
    typeof retryable === "boolean" ? retryable : status >= 500 || status === 429,
  );
}

/** Turns anything that was thrown into a problem. */
export function asProblem(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown;
  const detail = thrown instanceof Error ? thrown.message : String(thrown);
  return new Problem(detail, "unexpected", 0, false);
}

function parseObject(body: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body);
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
