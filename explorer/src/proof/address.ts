/** Addresses: 20 bytes of the hash of a public key, as bech32m text (BIP-350). */

import { ProofError } from "./bytes.ts";
import { keyOf, keyed } from "./hashes.ts";
import { addressSymbols } from "../lib/bech32.ts";

const ADDRESS_KEY = keyOf("cherrydag 2026-11-22 address v1");

/** The 20 bytes that the text of an address spells. ProofError("address") if it spells none. */
export function addressBytes(text: string): Uint8Array {
  const symbols = addressSymbols(text);
  if (symbols === null) throw new ProofError("address", "this is the text of no address");
  const octets = new Uint8Array(20);
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const symbol of symbols) {
    bits = ((bits << 5) | symbol) & 0xfff;
    held += 5;
    if (held >= 8) {
      held -= 8;
      octets[at++] = (bits >> held) & 0xff;
    }
  }
  return octets;
}

export function addressOf(publicKey: Uint8Array): Uint8Array {
  return keyed(publicKey, ADDRESS_KEY).subarray(0, 20);
}
