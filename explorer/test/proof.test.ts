import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { AccountProof, Commit, InclusionProof, Transaction } from "../src/api/types.ts";
import { verifyAccount } from "../src/proof/account.ts";
import { addressBytes } from "../src/proof/address.ts";
import { ProofError, Reader, ascii, concat, fromHex, little, toHex } from "../src/proof/bytes.ts";
import { quorumOf, readGenesis, type Chain } from "../src/proof/genesis.ts";
import { derived, keyed } from "../src/proof/hashes.ts";
import { verifyInclusion, verifyOrdered, verifyTransaction } from "../src/proof/inclusion.ts";
import { isUnder } from "../src/proof/merkle.ts";
import { decodeStateProof, verifyStateProof, type StateProof } from "../src/proof/state.ts";

interface Inclusion {
  readonly transaction: Transaction;
  readonly commit: Commit;
  readonly proof: InclusionProof;
}

interface Vectors {
  readonly genesis: { readonly digest: string; readonly encoding: string };
  readonly balance: string;
  readonly accounts: readonly AccountProof[];
  readonly inclusions: readonly Inclusion[];
}

// Made by tests/explorer_vectors.py with the node's own code.
const VECTORS = JSON.parse(readFileSync(new URL("../../tests/vectors/explorer.json", import.meta.url), "utf8")) as Vectors;
const CHAIN = readGenesis(fromHex(VECTORS.genesis.encoding), fromHex(VECTORS.genesis.digest));

function at<Item>(list: readonly Item[], index: number): Item {
  const found = list[index];
  if (found === undefined) throw new Error(`no item ${index}`);
  return found;
}

const HELD = at(VECTORS.accounts, 0);
const ABSENT = at(VECTORS.accounts, 1);
const KEY = concat(addressBytes(HELD.address), little(0, 4));
const ROOT = fromHex(HELD.certificate.state_root);

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof ProofError) return error.code;
    throw error;
  }
  return "none";
}

/** The hexadecimal text with one bit of a byte turned. */
function flipped(text: string, byte: number, bit = 1): string {
  const octets = fromHex(text);
  octets[byte] = (octets[byte] ?? 0) ^ bit;
  return toHex(octets);
}

function account(proof: AccountProof, chain: Chain = CHAIN): ReturnType<typeof verifyAccount> {
  return verifyAccount(proof, proof.address, 0, chain);
}

describe("genesis", () => {
  test("names the committee and its quorum", () => {
    expect(CHAIN.members.map((member) => member.name)).toEqual(["v0", "v1", "v2", "v3"]);
    expect(CHAIN.total).toBe(4n + 2n ** 40n);
    expect([1n, 2n, 3n, 4n, 5n, 6n, 7n].map(quorumOf)).toEqual([1n, 2n, 3n, 3n, 4n, 5n, 5n]);
  });

  test("any other byte is another chain", () => {
    const size = VECTORS.genesis.encoding.length / 2;
    for (let byte = 0; byte < size; byte += 7) {
      const encoding = fromHex(flipped(VECTORS.genesis.encoding, byte));
      expect(codeOf(() => readGenesis(encoding, CHAIN.digest))).toBe("genesis_digest");
    }
  });
});

describe("account proof", () => {
  test("shows the exact balance, beyond 2^53", () => {
    const proven = account(HELD);
    expect(proven.line?.balance).toBe(BigInt(VECTORS.balance));
    expect(proven.line).toMatchObject({ nonceBase: 5n, nonceMask: 6n, flags: 0 });
    expect(proven.signed).toMatchObject({ commitIndex: 1234, signers: ["v2", "v3"] });
  });

  test("shows that there is no such account", () => {
    expect(account(ABSENT).line).toBeNull();
  });

  test("of one account is none of another", () => {
    expect(codeOf(() => verifyAccount(HELD, ABSENT.address, 0, CHAIN))).not.toBe("none");
    expect(codeOf(() => verifyAccount(HELD, HELD.address, 1, CHAIN))).not.toBe("none");
  });

  test("any changed byte breaks it", () => {
    const size = HELD.state_proof.length / 2;
    for (let byte = 0; byte < size; byte++) {
      const tampered = fromHex(flipped(HELD.state_proof, byte, 1 << (byte % 8)));
      const code = codeOf(() => verifyStateProof(decodeStateProof(tampered), "accounts", KEY, ROOT));
      expect(code, `byte ${byte}`).toMatch(/^state_proof_/);
    }
  });

  test("any cut or longer proof is refused", () => {
    for (let size = 0; size < HELD.state_proof.length; size += 190) {
      const cut = { ...HELD, state_proof: HELD.state_proof.slice(0, size) };
      expect(codeOf(() => account(cut)), `${size / 2} bytes`).toMatch(/^state_proof_/);
    }
    expect(codeOf(() => account({ ...HELD, state_proof: `${HELD.state_proof}00` }))).toBe("state_proof_trailing");
  });

  test("the answer may not say another balance than its proof", () => {
    const line = { ...at([HELD.line], 0), balance: "1", nonce_base: 5, flags: 0 };
    expect(codeOf(() => account({ ...HELD, line }))).toBe("account_line");
    expect(codeOf(() => account({ ...HELD, line: null }))).toBe("account_line");
    expect(codeOf(() => account({ ...ABSENT, line }))).toBe("account_line");
  });
});

describe("certificate", () => {
  const certificate = HELD.certificate;
  const withSignatures = (signatures: AccountProof["certificate"]["signatures"]): AccountProof => ({
    ...HELD,
    certificate: { ...certificate, signatures },
  });
  const [first, second] = [at(certificate.signatures, 0), at(certificate.signatures, 1)];

  test("of less than a quorum is refused", () => {
    expect(codeOf(() => account(withSignatures([first])))).toBe("certificate_stake");
    expect(codeOf(() => account(withSignatures([])))).toBe("certificate_stake");
  });

  test("a quorum is needed to the last unit of stake", () => {
    const chain = { ...CHAIN, quorum: 2n ** 40n };
    expect(codeOf(() => account(withSignatures([second]), chain))).toBe("none");
    expect(codeOf(() => account(withSignatures([second]), { ...chain, quorum: 2n ** 40n + 1n }))).toBe("certificate_stake");
  });

  test("signers count once, in their order, and only members", () => {
    expect(codeOf(() => account(withSignatures([second, second])))).toBe("certificate_order");
    expect(codeOf(() => account(withSignatures([second, first])))).toBe("certificate_order");
    expect(codeOf(() => account(withSignatures([first, { ...second, author: 4 }])))).toBe("certificate_author");
    expect(codeOf(() => account(withSignatures([{ ...first, author: -1 }, second])))).toBe("certificate_author");
  });

  test("a signature of another member, or with a bit turned, is not valid", () => {
    expect(codeOf(() => account(withSignatures([{ ...first, author: 1 }, second])))).toBe("certificate_signature");
    for (const byte of [0, 31, 32, 63]) {
      const turned = { ...second, signature: flipped(second.signature, byte) };
      expect(codeOf(() => account(withSignatures([first, turned])))).toBe("certificate_signature");
    }
    expect(codeOf(() => account(withSignatures([first, { ...second, signature: "" }])))).toBe("certificate_signature");
  });

  test("binds chain, epoch, index, commit and state", () => {
    const changed = (changes: Partial<AccountProof["certificate"]>): string =>
      codeOf(() => account({ ...HELD, certificate: { ...certificate, ...changes } }));
    expect(changed({ chain: flipped(certificate.chain, 0) })).toBe("certificate_chain");
    expect(changed({ epoch: 1 })).toBe("vertex_epoch");
    expect(changed({ commit_index: 1235 })).toBe("certificate_signature");
    expect(changed({ commit_digest: flipped(certificate.commit_digest, 0) })).toBe("certificate_signature");
    expect(changed({ state_root: flipped(certificate.state_root, 0) })).toBe("certificate_signature");
  });
});

describe("inclusion", () => {
  test.each(VECTORS.inclusions.map((one, index) => [index, one] as const))("%i holds", (_, { transaction, proof, commit }) => {
    verifyTransaction(transaction, transaction.id, CHAIN);
    expect(verifyInclusion(proof, transaction.id, CHAIN)).toMatch(/^(v2|operator )/);
    verifyOrdered(commit, proof.vertex.digest);
  });

  const { transaction, proof, commit } = at(VECTORS.inclusions, 0);

  test("a record with any byte changed is another transaction, or not signed", () => {
    for (let byte = 0; byte < transaction.record.length / 2; byte++) {
      const record = flipped(transaction.record, byte);
      const code = codeOf(() => verifyTransaction({ ...transaction, record }, transaction.id, CHAIN));
      expect(code, `byte ${byte}`).toBe(byte < 112 ? "transaction_id" : "transaction_signature");
    }
  });

  test("the answer may not name other figures than the record", () => {
    const other = at(VECTORS.inclusions, 1).transaction;
    const changes: readonly Partial<Transaction>[] = [
      { amount: "1" },
      { fee: "2" },
      { nonce: 99 },
      { asset: 1 },
      { kind: 16 },
      { recipient: other.recipient },
      { sender: other.sender },
    ];
    for (const change of changes) {
      expect(codeOf(() => verifyTransaction({ ...transaction, ...change }, transaction.id, CHAIN))).toBe("record_fields");
    }
  });

  test("any changed byte of the header breaks it", () => {
    for (let byte = 0; byte < proof.header.length / 2; byte += 3) {
      const tampered = { ...proof, header: flipped(proof.header, byte) };
      expect(codeOf(() => verifyInclusion(tampered, transaction.id, CHAIN)), `byte ${byte}`).toBe("inclusion_header");
    }
  });

  test("another row, path, signature or id does not lead to the vertex", () => {
    const id = at(VECTORS.inclusions, 1).transaction.id;
    expect(codeOf(() => verifyInclusion({ ...proof, row: proof.row + 1 }, transaction.id, CHAIN))).toBe("inclusion_proof");
    expect(codeOf(() => verifyInclusion({ ...proof, row: 5 }, transaction.id, CHAIN))).toBe("inclusion_proof");
    expect(codeOf(() => verifyInclusion({ ...proof, siblings: flipped(proof.siblings, 3) }, transaction.id, CHAIN))).toBe("inclusion_proof");
    expect(codeOf(() => verifyInclusion({ ...proof, siblings: `${proof.siblings}${"00".repeat(32)}` }, transaction.id, CHAIN))).toBe("inclusion_proof");
    expect(codeOf(() => verifyInclusion({ ...proof, signature: flipped(proof.signature, 9) }, transaction.id, CHAIN))).toBe("inclusion_proof");
    expect(codeOf(() => verifyInclusion(proof, id, CHAIN))).toBe("inclusion_proof");
  });

  test("a commit is bound by its digest and must order the vertex", () => {
    expect(codeOf(() => verifyOrdered({ ...commit, time_ms: commit.time_ms + 1 }, proof.vertex.digest))).toBe("commit_digest");
    expect(codeOf(() => verifyOrdered({ ...commit, vertex_refs: commit.vertex_refs.slice(1) }, proof.vertex.digest))).toBe("commit_size");
    expect(codeOf(() => verifyOrdered(commit, "00".repeat(32)))).toBe("commit_vertex");
  });
});

/** A state of one provider with one bucket of any bytes, whose proof leads to its root. */
function bucket(entries: Uint8Array, value: Uint8Array = new Uint8Array(0)): readonly [StateProof, root: Uint8Array] {
  const use = (name: string): Uint8Array => derived(`cherrydag 2026-11-22 state ${name} v1`, ascii("one"));
  const siblings = new Uint8Array(32);
  const isRight = (keyed(ascii("key"), use("bucket"))[0] ?? 0) >> 7;
  const leaf = keyed(entries, use("leaf"));
  const top = keyed(isRight ? concat(siblings, leaf) : concat(leaf, siblings), use("node"));
  const tree = keyed(concat(Uint8Array.of(1), top), use("tree"));
  const root = derived("cherrydag 2026-11-22 state root v1", concat(Uint8Array.of(3), ascii("one"), Uint8Array.of(1), tree));
  return [{ provider: "one", depth: 1, others: [], siblings, entries, value }, root];
}

function entry(key: string, value: Uint8Array, size = value.length): Uint8Array {
  return concat(Uint8Array.of(key.length), ascii(key), Uint8Array.of(size), value);
}

describe("bucket", () => {
  const read = (entries: Uint8Array, value?: Uint8Array): Uint8Array | null => {
    const [proof, root] = bucket(entries, value);
    return verifyStateProof(proof, "one", ascii("key"), root);
  };
  const long = (value: Uint8Array, size = value.length): Uint8Array =>
    entry("key", concat(little(size, 4), keyed(value, derived("cherrydag 2026-11-22 state value v1", ascii("one")))), 255);

  test("gives the value of the key among others", () => {
    const entries = concat(entry("a", Uint8Array.of(1)), entry("key", Uint8Array.of(7)), entry("kez", Uint8Array.of(2)));
    expect(read(entries)).toEqual(Uint8Array.of(7));
    expect(read(entry("a", Uint8Array.of(1)))).toBeNull();
    expect(read(new Uint8Array(0))).toBeNull();
  });

  test("that is not strictly ascending is refused", () => {
    const twice = concat(entry("key", Uint8Array.of(1)), entry("key", Uint8Array.of(2)));
    const turned = concat(entry("key", Uint8Array.of(1)), entry("a", Uint8Array.of(2)));
    for (const entries of [twice, turned]) expect(codeOf(() => read(entries))).toBe("state_proof_entries");
  });

  test("takes values of up to 64 bytes, and longer ones by their digest", () => {
    expect(read(entry("key", new Uint8Array(64)))).toHaveLength(64);
    expect(codeOf(() => read(entry("key", new Uint8Array(65))))).toBe("state_proof_entries");
    const value = new Uint8Array(65).fill(3);
    expect(read(long(value), value)).toEqual(value);
    expect(codeOf(() => read(long(new Uint8Array(64)), new Uint8Array(64)))).toBe("state_proof_entries");
    expect(codeOf(() => read(long(value, 65_537), value))).toBe("state_proof_entries");
  });

  test("a long value that is missing, other or not called for is refused", () => {
    const value = new Uint8Array(65).fill(3);
    expect(codeOf(() => read(long(value)))).toBe("state_proof_value");
    expect(codeOf(() => read(long(value), new Uint8Array(65)))).toBe("state_proof_value");
    expect(codeOf(() => read(long(value), new Uint8Array(66)))).toBe("state_proof_value");
    expect(codeOf(() => read(entry("key", Uint8Array.of(1)), value))).toBe("state_proof_value");
  });
});

describe("parts", () => {
  test("a Merkle path is never of an index or size that cannot be", () => {
    const none = new Uint8Array(0);
    const leaf = new Uint8Array(32);
    for (const [index, count] of [[0, 0], [1, 1], [-1, 1], [0.5, 1], [Number.NaN, 1]] as const) {
      expect(isUnder(leaf, leaf, index, count, none)).toBe(false);
    }
  });

  test("the address of the proof is spelt by its text", () => {
    expect(addressBytes(HELD.address)).toHaveLength(20);
    expect(codeOf(() => addressBytes(HELD.address.replace(/.$/, (one) => (one === "q" ? "p" : "q"))))).toBe("address");
  });

  test("a long value stands for its digest alone", () => {
    const proof = decodeStateProof(fromHex(HELD.state_proof));
    const tampered = { ...proof, value: Uint8Array.of(1) };
    expect(codeOf(() => verifyStateProof(tampered, "accounts", KEY, ROOT))).toBe("state_proof_value");
    expect(codeOf(() => verifyStateProof(proof, "entries", KEY, ROOT))).toBe("state_proof_other_provider");
  });

  test("integers are exact and bounded", () => {
    expect(new Reader(little(2n ** 127n + 1n, 16), "x").big(16)).toBe(2n ** 127n + 1n);
    expect(codeOf(() => little(256, 1))).toBe("range");
    expect(codeOf(() => fromHex("0g"))).toBe("hex");
    expect(codeOf(() => fromHex("000"))).toBe("hex");
  });
});
