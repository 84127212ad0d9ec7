/** Proofs against the root of the state: a value that stands under a key, or that there is none. */

import { ProofError, Reader, ascii, compare, concat, equal, little } from "./bytes.ts";
import { derived, keyed } from "./hashes.ts";

const DEPTH_MAX = 24;
const PROVIDERS_MAX = 16;
const KEY_BYTES_MAX = 130;
const VALUE_BYTES_MAX = 64 * 1024;
const INLINE_BYTES_MAX = 64;
const BUCKET_BYTES_MAX = 1024 * 1024;
const LONG = 255;
const PROOF_BYTES_MAX = 12 + PROVIDERS_MAX * 66 + DEPTH_MAX * 32 + BUCKET_BYTES_MAX + VALUE_BYTES_MAX;
const NAME = /^[a-z][a-z0-9_]{0,31}$/;

interface TreeRoot {
  readonly provider: string;
  readonly depth: number;
  readonly root: Uint8Array;
}

export interface StateProof {
  readonly provider: string;
  readonly depth: number;
  readonly others: readonly TreeRoot[];
  readonly siblings: Uint8Array;
  readonly entries: Uint8Array;
  readonly value: Uint8Array;
}

function refuse(code: string, message: string): never {
  throw new ProofError(`state_proof_${code}`, message);
}

/** The proof that the bytes spell. Total: ProofError for anything else. */
export function decodeStateProof(frame: Uint8Array): StateProof {
  if (frame.length > PROOF_BYTES_MAX) refuse("size", `the proof has more than ${PROOF_BYTES_MAX} bytes`);
  const reader = new Reader(frame, "state_proof_truncated");
  const [tag, version, depth, count] = [reader.int(1), reader.int(1), reader.int(1), reader.int(1)];
  const [entriesSize, valueSize] = [reader.int(4), reader.int(4)];
  if (tag !== 6) refuse("tag", `expected tag 6, got ${tag}`);
  if (version !== 1) refuse("version", `expected version 1, got ${version}`);
  if (depth < 1 || depth > DEPTH_MAX) refuse("depth", `expected a depth of 1 to ${DEPTH_MAX}, got ${depth}`);
  const provider = reader.text();
  const others: TreeRoot[] = [];
  for (let left = count; left > 0; left--) {
    others.push({ provider: reader.text(), depth: reader.int(1), root: reader.take(32) });
  }
  const siblings = reader.take(depth * 32);
  if (entriesSize > BUCKET_BYTES_MAX) refuse("size", `${entriesSize} bytes of entries, allowed are ${BUCKET_BYTES_MAX}`);
  if (valueSize > VALUE_BYTES_MAX) refuse("size", `a value of ${valueSize} bytes, allowed are ${VALUE_BYTES_MAX}`);
  const entries = reader.take(entriesSize);
  const value = reader.take(valueSize);
  if (reader.left) refuse("trailing", `${reader.left} bytes follow the proof`);
  checkProviders(provider, others);
  return { provider, depth, others, siblings, entries, value };
}

function checkProviders(provider: string, others: readonly TreeRoot[]): void {
  if (others.length >= PROVIDERS_MAX) refuse("providers", `${others.length} other providers`);
  let last = "";
  for (const tree of others) {
    if (!NAME.test(tree.provider) || tree.provider <= last) refuse("providers", "the providers are not in order");
    if (tree.depth < 1 || tree.depth > DEPTH_MAX) refuse("providers", `${tree.provider} has a depth of ${tree.depth}`);
    last = tree.provider;
  }
  if (!NAME.test(provider) || others.some((tree) => tree.provider === provider)) {
    refuse("providers", "the provider is listed among the others, or has no name");
  }
}

/** The value under `key` of `provider` in the state of this root, or null if there is none.
 * ProofError for a proof that does not show it. */
export function verifyStateProof(proof: StateProof, provider: string, key: Uint8Array, root: Uint8Array): Uint8Array | null {
  if (proof.provider !== provider) refuse("other_provider", `expected ${provider}, got ${proof.provider}`);
  const tree: TreeRoot = { provider, depth: proof.depth, root: climb(proof, key) };
  const roots = [...proof.others, tree].sort((a, b) => (a.provider < b.provider ? -1 : 1));
  const message = roots.map((one) => concat(named(one.provider), Uint8Array.of(one.depth), one.root));
  if (!equal(derived("cherrydag 2026-11-22 state root v1", concat(...message)), root)) {
    refuse("root", "the proof does not lead to the state's root");
  }
  const found = findEntry(proof.entries, key);
  if (found === null || found.inline !== null) {
    if (proof.value.length) refuse("value", "there is a value that nothing calls for");
    return found?.inline ?? null;
  }
  const valueKey = derived("cherrydag 2026-11-22 state value v1", ascii(provider));
  if (proof.value.length !== found.size || !equal(keyed(proof.value, valueKey), found.digest)) {
    refuse("value", "the value is not the one that the entry stands for");
  }
  return proof.value;
}

/** The root of the tree in which the proof's bucket is the one of `key`. */
function climb(proof: StateProof, key: Uint8Array): Uint8Array {
  const name = ascii(proof.provider);
  const place = keyed(key, derived("cherrydag 2026-11-22 state bucket v1", name));
  const nodeKey = derived("cherrydag 2026-11-22 state node v1", name);
  let node = keyed(proof.entries, derived("cherrydag 2026-11-22 state leaf v1", name));
  for (let level = 0; level < proof.depth; level++) {
    const sibling = proof.siblings.subarray(level * 32, level * 32 + 32);
    const bit = proof.depth - 1 - level; // the bucket's bits, most significant first
    const isRight = ((place[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1;
    node = keyed(isRight ? concat(sibling, node) : concat(node, sibling), nodeKey);
  }
  return keyed(concat(Uint8Array.of(proof.depth), node), derived("cherrydag 2026-11-22 state tree v1", name));
}

function named(name: string): Uint8Array {
  return concat(Uint8Array.of(name.length), ascii(name));
}

interface Entry {
  readonly size: number;
  readonly inline: Uint8Array | null;
  readonly digest: Uint8Array;
}

/** The entry of `key`. All are read: ProofError unless they are canonical. */
function findEntry(entries: Uint8Array, key: Uint8Array): Entry | null {
  const reader = new Reader(entries, "state_proof_entries");
  let wanted: Entry | null = null;
  let last = new Uint8Array(0);
  while (reader.left) {
    const keySize = reader.int(1);
    if (keySize < 1 || keySize > KEY_BYTES_MAX) refuse("entries", `a key of ${keySize} bytes`);
    const own = reader.take(keySize);
    if (compare(own, last) <= 0) refuse("entries", "the entries are not strictly ascending");
    last = new Uint8Array(own);
    const entry = readValue(reader);
    if (equal(own, key)) wanted = entry;
  }
  return wanted;
}

function readValue(reader: Reader): Entry {
  const size = reader.int(1);
  if (size <= INLINE_BYTES_MAX) return { size, inline: reader.take(size), digest: little(0, 0) };
  if (size !== LONG) refuse("entries", `no value begins with ${size}`);
  const long = reader.int(4);
  if (long <= INLINE_BYTES_MAX || long > VALUE_BYTES_MAX) refuse("entries", `a value of ${long} bytes as a digest`);
  return { size: long, inline: null, digest: reader.take(32) };
}
