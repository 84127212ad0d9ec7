/** The genesis: who validates. Its digest is the chain's identity, so its bytes need no other proof. */

import { ProofError, Reader, equal } from "./bytes.ts";
import { derived, keyOf, keyed } from "./hashes.ts";

const GENESIS_KEY = keyOf("cherrydag 2026-11-22 genesis v1");
const EPOCH = 0; // of the committee that genesis names

export interface Member {
  readonly name: string;
  readonly publicKey: Uint8Array;
  readonly stake: bigint;
}

/** A chain's identity, its first committee with the stake of a quorum, and the keys of what is signed. */
export interface Chain {
  readonly digest: Uint8Array;
  readonly epoch: number;
  readonly members: readonly Member[];
  readonly total: bigint;
  readonly quorum: bigint;
  readonly transactionKey: Uint8Array;
  readonly validatorKey: Uint8Array;
  readonly operatorKey: Uint8Array;
  readonly checkpointKey: Uint8Array;
}

/** The chain that these bytes of a genesis start. ProofError unless they hash to `digest`. */
export function readGenesis(encoding: Uint8Array, digest: Uint8Array): Chain {
  if (!equal(keyed(encoding, GENESIS_KEY), digest)) {
    throw new ProofError("genesis_digest", "the genesis is not the one that this chain is named by");
  }
  const members = readMembers(new Reader(encoding, "genesis"));
  const total = members.reduce((sum, member) => sum + member.stake, 0n);
  return {
    digest,
    epoch: EPOCH,
    members,
    total,
    quorum: quorumOf(total),
    transactionKey: derived("cherrydag 2026-11-22 transaction id v1", digest),
    validatorKey: derived("cherrydag 2026-11-22 validator vertex signature v1", digest),
    operatorKey: derived("cherrydag 2026-11-22 operator vertex signature v1", digest),
    checkpointKey: derived("cherrydag 2026-11-22 checkpoint signature v1", digest),
  };
}

/** The least stake that a quorum has: all but the third, less one unit, that may be faulty. */
export function quorumOf(total: bigint): bigint {
  return total - (total - 1n) / 3n;
}

/** version u8, name, network, created_ms u64, chain parameters 4 x u32, ledger parameters u32 2 x u64, modules,
 * then the validators; what follows them is not needed here. */
function readMembers(reader: Reader): readonly Member[] {
  const version = reader.int(1);
  if (version !== 1) throw new ProofError("genesis", `the genesis has version ${version}, known is 1`);
  reader.text();
  reader.text();
  reader.take(8 + 16 + 20);
  for (let left = reader.int(2); left > 0; left--) reader.text();
  const members: Member[] = [];
  for (let left = reader.int(2); left > 0; left--) {
    const name = reader.text();
    const publicKey = reader.take(32);
    const stake = reader.big(8);
    for (let hosts = reader.int(1); hosts > 0; hosts--) reader.text();
    members.push({ name, publicKey, stake });
  }
  return members;
}
