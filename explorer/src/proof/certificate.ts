/** Checkpoints: the state after a commit, signed by a quorum of the committee's stake. */

import type { Certificate } from "../api/types.ts";
import { ProofError, concat, fromHex, little, toHex } from "./bytes.ts";
import type { Chain } from "./genesis.ts";
import { isSigned, keyed } from "./hashes.ts";

const HEAD = Uint8Array.of(4, 1); // tag of a checkpoint, version

export interface Signed {
  readonly commitIndex: number;
  readonly stateRoot: Uint8Array;
  readonly signers: readonly string[];
  readonly stake: bigint;
}

/** What a quorum has signed. ProofError with the code of the first rule that is broken. */
export function verifyCertificate(certificate: Certificate, chain: Chain): Signed {
  if (certificate.chain !== toHex(chain.digest)) {
    throw new ProofError("certificate_chain", "the checkpoint is another chain's");
  }
  if (certificate.epoch !== chain.epoch) {
    throw new ProofError("vertex_epoch", `the checkpoint is of epoch ${certificate.epoch}, known is ${chain.epoch}`);
  }
  let last = -1;
  let stake = 0n;
  const signers: string[] = [];
  for (const { author } of certificate.signatures) {
    const member = chain.members[author];
    if (member === undefined) throw new ProofError("certificate_author", `signer ${author} is not in the committee`);
    if (author <= last) throw new ProofError("certificate_order", "the signers are not in ascending order");
    last = author;
    stake += member.stake;
    signers.push(member.name);
  }
  if (stake < chain.quorum) {
    throw new ProofError("certificate_stake", `signed by a stake of ${stake}, a quorum is ${chain.quorum}`);
  }
  const stateRoot = digest(certificate.state_root);
  const encoding = concat(
    HEAD,
    chain.digest,
    little(certificate.epoch, 4),
    little(certificate.commit_index, 8),
    digest(certificate.commit_digest),
    stateRoot,
  );
  const message = keyed(encoding, chain.checkpointKey);
  for (const { author, signature } of certificate.signatures) {
    const member = chain.members[author];
    if (member === undefined || !isSigned(member.publicKey, message, fromHex(signature))) {
      throw new ProofError("certificate_signature", `the signature of ${member?.name ?? author} is not valid`);
    }
  }
  return { commitIndex: certificate.commit_index, stateRoot, signers, stake };
}

function digest(text: string): Uint8Array {
  const octets = fromHex(text);
  if (octets.length !== 32) throw new ProofError("digest", `a digest has 32 bytes, this one ${octets.length}`);
  return octets;
}
