/** The proof that a transaction stands in a signed vertex, and that vertex in a commit of the main chain. */

import type { Commit, InclusionProof, Transaction, VertexRef } from "../api/types.ts";
import { addressBytes, addressOf } from "./address.ts";
import { ProofError, Reader, concat, equal, fromHex, little, toHex } from "./bytes.ts";
import type { Chain } from "./genesis.ts";
import { isSigned, keyOf, keyed } from "./hashes.ts";
import { isUnder } from "./merkle.ts";

const VERTEX_KEY = keyOf("cherrydag 2026-11-22 vertex v1");
const COMMIT_KEY = keyOf("cherrydag 2026-11-22 commit v1");
const LEAF_KEY = keyOf("cherrydag 2026-11-22 payload leaf v1");
const RECORD_BYTES = 176;
const HEAD_BYTES = 112; // of a record: all that its id covers
const VALIDATOR_HEAD_BYTES = 68;
const OPERATOR_HEAD_BYTES = 100;
const SIGNATURE_BYTES = 64;

/** The transaction's id is that of its bytes on this chain, and its sender has signed it. */
export function verifyTransaction(transaction: Transaction, id: string, chain: Chain): void {
  const record = fromHex(transaction.record);
  if (record.length !== RECORD_BYTES) throw new ProofError("record_size", `a record has ${RECORD_BYTES} bytes`);
  const digest = keyed(concat(record.subarray(0, HEAD_BYTES), fromHex(transaction.body ?? "")), chain.transactionKey);
  if (toHex(digest) !== id) throw new ProofError("transaction_id", "the record is not that of this id");
  const sender = record.subarray(80, 112);
  if (!isSigned(sender, digest, record.subarray(HEAD_BYTES))) {
    throw new ProofError("transaction_signature", "the sender's signature is not valid");
  }
  const reader = new Reader(record, "record_size");
  const kind = reader.int(1);
  reader.take(3);
  const asset = reader.int(4);
  const nonce = reader.big(8);
  const [amount, fee] = [reader.big(16), reader.big(8)];
  reader.take(8);
  const recipient = reader.take(20);
  const agrees =
    kind === transaction.kind &&
    asset === transaction.asset &&
    nonce === BigInt(transaction.nonce) &&
    amount === BigInt(transaction.amount) &&
    fee === BigInt(transaction.fee) &&
    equal(recipient, addressBytes(transaction.recipient)) &&
    equal(addressOf(sender), addressBytes(transaction.sender));
  if (!agrees) throw new ProofError("record_fields", "the answer names other figures than the signed record");
}

/** The transaction stands in the vertex, whose author has signed it. Returns who that is. */
export function verifyInclusion(proof: InclusionProof, id: string, chain: Chain): string {
  const header = fromHex(proof.header);
  const isValidator = header[0] === 1;
  const headBytes = isValidator ? VALIDATOR_HEAD_BYTES : OPERATOR_HEAD_BYTES;
  if ((!isValidator && header[0] !== 2) || header[1] !== 1 || header.length < headBytes + SIGNATURE_BYTES) {
    throw new ProofError("inclusion_header", "the header is no vertex's");
  }
  if (toHex(keyed(header, VERTEX_KEY)) !== proof.vertex.digest) {
    throw new ProofError("inclusion_header", "the header is not that of the vertex");
  }
  const payload = new Reader(header.subarray(headBytes - 40, headBytes), "inclusion_header");
  const [root, count] = [payload.take(32), payload.int(4)];
  const signature = fromHex(proof.signature);
  const leaf = keyed(concat(fromHex(id), signature), LEAF_KEY);
  if (signature.length !== SIGNATURE_BYTES || !isUnder(root, leaf, proof.row, count, fromHex(proof.siblings))) {
    throw new ProofError("inclusion_proof", "the proof does not lead to the vertex's payload");
  }
  return isValidator ? validatorOf(header, chain) : operatorOf(header, chain);
}

function validatorOf(header: Uint8Array, chain: Chain): string {
  const author = new Reader(header.subarray(2, 4), "inclusion_header").int(2);
  const member = chain.members[author];
  if (member === undefined) throw new ProofError("vertex_author", `author ${author} is not in the committee`);
  checkSignature(header, member.publicKey, chain.validatorKey);
  return member.name;
}

function operatorOf(header: Uint8Array, chain: Chain): string {
  const issuer = header.subarray(28, 60);
  checkSignature(header, issuer, chain.operatorKey);
  return `operator ${toHex(issuer).slice(0, 8)}`;
}

function checkSignature(header: Uint8Array, publicKey: Uint8Array, key: Uint8Array): void {
  const digest = keyed(header.subarray(0, -SIGNATURE_BYTES), key);
  if (!isSigned(publicKey, digest, header.subarray(-SIGNATURE_BYTES))) {
    throw new ProofError("vertex_signature", "the author's signature of the vertex is not valid");
  }
}

/** The commit's digest is that of its fields, and the vertex is one of those it orders. */
export function verifyOrdered(commit: Commit, vertex: string): void {
  if (commit.vertex_refs.length !== commit.vertices) {
    throw new ProofError("commit_size", `the answer lists ${commit.vertex_refs.length} of ${commit.vertices} vertices`);
  }
  const head = concat(
    Uint8Array.of(3, 1),
    little(commit.epoch, 4),
    little(commit.commit_index, 8),
    little(commit.time_ms, 8),
    fromHex(commit.prev_digest),
    little(commit.vertices, 4),
  );
  if (toHex(keyed(concat(head, ...commit.vertex_refs.map(packed)), COMMIT_KEY)) !== commit.digest) {
    throw new ProofError("commit_digest", "the commit's digest is not that of its vertices");
  }
  if (!commit.vertex_refs.some((ref) => ref.digest === vertex)) {
    throw new ProofError("commit_vertex", "the commit does not order this vertex");
  }
}

function packed(ref: VertexRef): Uint8Array {
  return ref.kind === "validator"
    ? concat(Uint8Array.of(1), little(ref.round, 4), little(ref.author, 2), fromHex(ref.digest))
    : concat(Uint8Array.of(2), little(ref.round, 4), fromHex(ref.issuer), fromHex(ref.digest));
}
