/** Merkle proofs of a payload's tree: neighbours are paired, an odd last node rises, the root binds the count. */

import { concat, equal, little } from "./bytes.ts";
import { derived } from "./hashes.ts";

const NODE = "cherrydag 2026-11 merkle node";
const ROOT = "cherrydag 2026-11 merkle root";

/** Whether `leaf` stands at `index` under the root of a tree of `count` leaves. Total. */
export function isUnder(root: Uint8Array, leaf: Uint8Array, index: number, count: number, proof: Uint8Array): boolean {
  if (!Number.isSafeInteger(index) || index < 0 || index >= count) return false;
  let node = leaf;
  let at = 0;
  let place = index;
  for (let width = count; width > 1; width -= Math.floor(width / 2), place = Math.floor(place / 2)) {
    const isLast = place === width - 1;
    if (place % 2 === 0 && isLast) continue;
    const sibling = proof.subarray(at, at + 32);
    if (sibling.length !== 32) return false;
    at += 32;
    node = derived(NODE, place % 2 ? concat(sibling, node) : concat(node, sibling));
  }
  return at === proof.length && equal(derived(ROOT, concat(little(count, 8), node)), root);
}
