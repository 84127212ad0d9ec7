/** Errors of the API in words. */

export class ApiError extends Error {
  /** code: the node's stable code, such as "param_id". */
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

const WORDS: Readonly<Record<string, string>> = {
  link: "The link to the node was lost before it answered.",
  timeout: "The node did not answer in time.",
  method: "This node does not have what this page needs; it may be of an older version.",
  commit_unknown: "There is no such commit yet.",
  proof_uncertified: "No checkpoint of the present state was signed in time. Try again in a moment.",
  overloaded: "The node is overloaded and turns readers away. Try again in a moment.",
};

/** What to tell a reader. */
export function inWords(error: unknown): string {
  if (error instanceof ApiError) {
    const words = WORDS[error.code];
    return words === undefined ? sentence(error.message) : words;
  }
  return error instanceof Error ? sentence(error.message) : "Something went wrong.";
}

function sentence(text: string): string {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
