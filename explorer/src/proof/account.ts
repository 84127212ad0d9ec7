/** The proof of an account's line: genesis, signatures, path through the state's tree, and the line itself. */

import type { AccountProof } from "../api/types.ts";
import { addressBytes } from "./address.ts";
import { ProofError, Reader, concat, fromHex, little } from "./bytes.ts";
import { verifyCertificate, type Signed } from "./certificate.ts";
import type { Chain } from "./genesis.ts";
import { decodeStateProof, verifyStateProof } from "./state.ts";

const LINE_BYTES = 36;

export interface ProvenLine {
  readonly balance: bigint;
  readonly nonceBase: bigint;
  readonly nonceMask: bigint;
  readonly flags: number;
}

export interface ProvenAccount {
  readonly signed: Signed;
  /** Null: it is proven that there is no such line. */
  readonly line: ProvenLine | null;
  readonly siblings: number;
  readonly proofBytes: number;
}

/** What the proof shows of the account that was asked for, whatever address the answer names. ProofError if it
 * shows nothing, or another line than the answer says. */
export function verifyAccount(proof: AccountProof, address: string, asset: number, chain: Chain): ProvenAccount {
  const signed = verifyCertificate(proof.certificate, chain);
  const frame = fromHex(proof.state_proof);
  const state = decodeStateProof(frame);
  const key = concat(addressBytes(address), little(asset, 4));
  const value = verifyStateProof(state, "accounts", key, signed.stateRoot);
  const line = value === null ? null : readLine(value);
  const said = proof.line;
  const agrees = line === null || said === null ? line === said : line.balance === BigInt(said.balance);
  if (!agrees) throw new ProofError("account_line", "the answer names another balance than its own proof shows");
  return { signed, line, siblings: state.depth, proofBytes: frame.length };
}

function readLine(value: Uint8Array): ProvenLine {
  if (value.length !== LINE_BYTES) throw new ProofError("account_line", `a line has ${LINE_BYTES} bytes, not ${value.length}`);
  const reader = new Reader(value, "account_line");
  return { balance: reader.big(16), nonceBase: reader.big(8), nonceMask: reader.big(8), flags: reader.int(4) };
}
