/** BLAKE3 in its keyed and derive-key modes, and Ed25519 by ZIP-215, as the ledger uses them. */

import { hashes, verify } from "@noble/ed25519";
import { blake3 } from "@noble/hashes/blake3.js";
import { sha512 } from "@noble/hashes/sha2.js";
import { ascii } from "./bytes.ts";

hashes.sha512 = sha512;

export function keyed(message: Uint8Array, key: Uint8Array): Uint8Array {
  return blake3(message, { key });
}

export function derived(context: string, material: Uint8Array): Uint8Array {
  return blake3(material, { context: ascii(context) });
}

/** A constant hashing key of the protocol. */
export function keyOf(context: string): Uint8Array {
  return derived(context, new Uint8Array(0));
}

/** Whether the signature is valid; false for whatever bytes cannot be one. */
export function isSigned(publicKey: Uint8Array, digest: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  try {
    return verify(signature, digest, publicKey, { zip215: true });
  } catch {
    return false;
  }
}
