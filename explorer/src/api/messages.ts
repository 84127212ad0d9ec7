/** Messages of JSON-RPC over the WebSocket, told apart. */

import { ApiError } from "./errors.ts";

export interface Answer {
  readonly kind: "answer";
  readonly id: number;
  readonly result: unknown;
  readonly error: ApiError | null;
}

export interface Notice {
  readonly kind: "notice";
  readonly subscription: number;
  readonly cursor: number;
  readonly result: unknown;
  readonly error: ApiError | null;
}

type Fields = Readonly<Record<string, unknown>>;

/** An answer or a notification; null for anything else. */
export function parseMessage(text: string): Answer | Notice | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isFields(value)) return null;
  if (typeof value["id"] === "number") {
    return { kind: "answer", id: value["id"], result: value["result"] ?? null, error: errorOf(value["error"]) };
  }
  const params = value["params"];
  if (value["method"] !== "subscription" || !isFields(params)) return null;
  const { subscription, cursor } = params;
  if (typeof subscription !== "number" || typeof cursor !== "number") return null;
  return { kind: "notice", subscription, cursor, result: params["result"], error: errorOf(params["error"]) };
}

function errorOf(value: unknown): ApiError | null {
  if (!isFields(value)) return null;
  const data = value["data"];
  const code = isFields(data) ? data["code"] : value["code"]; // a notification has its code beside the message
  const message = value["message"];
  return new ApiError(String(code ?? "unknown"), typeof message === "string" ? message : "the node refused");
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
