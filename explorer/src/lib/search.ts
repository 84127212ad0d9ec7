/** What a reader may have typed into the search box. */

import { addressSymbols } from "./bech32.ts";

export type Query =
  | { readonly kind: "commit"; readonly index: number }
  | { readonly kind: "digest"; readonly digest: string }
  | { readonly kind: "vertex"; readonly name: string }
  | { readonly kind: "address"; readonly address: string }
  | { readonly kind: "wrong"; readonly words: string };

const COMMIT_MAX = 2 ** 32 - 1;

/** digest: of 64 digits, which may be a transaction's or a vertex's. */
export function readQuery(typed: string): Query {
  const text = typed.trim();
  if (text === "") return { kind: "wrong", words: "Type a transaction id, an address, a commit\u2019s number or a vertex." };
  const plain = text.replace(/^#/, "").replace(/[\s\u202f_,]/g, "");
  if (/^\d{1,10}$/.test(plain)) {
    const index = Number(plain);
    if (index >= 1 && index <= COMMIT_MAX) return { kind: "commit", index };
    return { kind: "wrong", words: `Commits are numbered from 1 to ${COMMIT_MAX}.` };
  }
  const lower = text.toLowerCase();
  if (/^[0-9a-f]+$/.test(lower)) return readDigits(lower);
  if (/^[a-z]+1[0-9a-z]+$/i.test(text)) {
    if (addressSymbols(text) !== null) return { kind: "address", address: lower };
    return { kind: "wrong", words: "The address has a wrong or missing character: its checksum does not match." };
  }
  return { kind: "wrong", words: "This is no transaction id, address, commit\u2019s number or vertex." };
}

function readDigits(digits: string): Query {
  if (digits.length === 64) return { kind: "digest", digest: digits };
  if (digits.length >= 16 && digits.length < 64) return { kind: "vertex", name: digits };
  return { kind: "wrong", words: `An id has 64 hexadecimal digits, a vertex at least 16; these are ${digits.length}.` };
}
