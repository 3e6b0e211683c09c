/** Reads the JSON envelope that lobster prints in tool mode. Its input is whatever a program printed. */

export type Envelope =
  | {
      ok: true;
      status: "ok" | "needs_approval" | "needs_input" | "cancelled";
      output: unknown[];
      requiresApproval: null | {
        type: "approval_request";
        prompt: string;
        items: unknown[];
        resumeToken?: string;
        approvalId?: string;
      };
      requiresInput?: null | { prompt: string; resumeToken: string };
    }
  | { ok: false; error: { type?: string; message: string } };

/** How many places of noisy output may be tried, so that reading stays linear. */
const maxTries = 64;

/** Finds the envelope at the end of the output; what stands before it is noise. */
export function parseEnvelope(stdout: string): Envelope {
  const text = stdout.trim();
  let isJSON = false;
  for (const at of beginnings(text)) {
    const parsed = tryParse(text.slice(at));
    if (parsed === undefined) continue;
    if (isEnvelope(parsed)) return parsed;
    isJSON = true;
  }
  throw new Error(isJSON ? "lobster returned invalid JSON envelope" : "lobster returned invalid JSON");
}

/** Where JSON may begin: at the start, at the start of a line, or after noise on the same line. */
function* beginnings(text: string): Generator<number> {
  yield 0;
  let tries = 0;
  for (const match of text.matchAll(/^[{[]/gm)) {
    if (tries++ === maxTries) break;
    yield match.index;
  }
  const first = text.search(/[{[]/);
  if (first > 0) yield first;
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isEnvelope(value: unknown): value is Envelope {
  return typeof value === "object" && value !== null && typeof (value as { ok?: unknown }).ok === "boolean";
}
