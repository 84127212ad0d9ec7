/** Runs the proofs against a node and tells in words what holds. Loaded when a page first needs it. */

import { ApiError, inWords } from "../api/errors.ts";
import type { Link } from "../api/link.ts";
import type { Receipt, Transaction } from "../api/types.ts";
import { coins, grouped, plural, short } from "../lib/format.ts";
import type { Check } from "../ui/parts.tsx";
import { verifyAccount, type ProvenAccount } from "./account.ts";
import { ProofError, fromHex } from "./bytes.ts";
import { readGenesis, type Chain } from "./genesis.ts";
import { verifyInclusion, verifyOrdered, verifyTransaction } from "./inclusion.ts";

const chains = new Map<string, Chain>();

/** The chain of this digest; its genesis is asked for once. */
async function chainOf(link: Link, digest: string): Promise<Chain> {
  const known = chains.get(digest);
  if (known !== undefined) return known;
  const genesis = await link.call("genesis", {});
  const chain = readGenesis(fromHex(genesis.encoding), fromHex(digest));
  chains.set(digest, chain);
  return chain;
}

function failed(name: string, error: unknown): Check {
  if (error instanceof ProofError && error.code === "commit_size") {
    return { name, verdict: "open", words: "The commit orders more vertices than a node tells of at a time." };
  }
  if (error instanceof ProofError) return { name, verdict: "bad", words: `${inWords(error).slice(0, -1)} (${error.code}). Trust nothing of it.` };
  if (error instanceof ApiError) return { name, verdict: "open", words: inWords(error) };
  throw error;
}

export interface AccountVerdict {
  readonly checks: readonly Check[];
  readonly proven: ProvenAccount | null;
}

export async function checkAccount(link: Link, digest: string, address: string): Promise<AccountVerdict> {
  try {
    const chain = await chainOf(link, digest);
    const proof = await link.call("account_proof", { address });
    const proven = verifyAccount(proof, address, 0, chain);
    const { signed, line } = proven;
    const checks: Check[] = [
      {
        name: "Genesis",
        verdict: "good",
        words: `The committee is that of genesis ${short(digest)}: ${plural(chain.members.length, "validator")}.`,
      },
      {
        name: "Signatures",
        verdict: "good",
        words: `${signed.signers.join(", ")} signed the checkpoint of commit ${grouped(signed.commitIndex)}: stake ${signed.stake} of ${chain.total}, a quorum is ${chain.quorum}.`,
      },
      {
        name: "State",
        verdict: "good",
        words: `A path of ${proven.siblings} hashes, ${grouped(proven.proofBytes)} bytes in all, leads to the state root that they signed.`,
      },
      {
        name: "Account",
        verdict: "good",
        words: line === null ? "There is no such account in that state." : `It held ${coins(line.balance)} coins in that state.`,
      },
    ];
    return { checks, proven };
  } catch (error) {
    return { checks: [failed("Account proof", error)], proven: null };
  }
}

/** Each step apart, since one may fail and the others hold. */
export async function checkTransaction(link: Link, digest: string, transaction: Transaction, receipt: Receipt): Promise<readonly Check[]> {
  let chain: Chain;
  try {
    chain = await chainOf(link, digest);
  } catch (error) {
    return [failed("Genesis", error)];
  }
  const vertex = receipt.vertex.digest;
  const signed = await step("Record", () => {
    verifyTransaction(transaction, transaction.id, chain);
    return "The id is the hash of the record on this chain, and the sender has signed it.";
  });
  const included = await step("Inclusion", async () => {
    const proof = await link.call("inclusion_proof", { id: transaction.id });
    if (proof === null) throw new ProofError("inclusion_proof", "the node has no proof of it");
    if (proof.vertex.digest !== vertex) throw new ProofError("inclusion_vertex", "the proof is of another vertex");
    const author = verifyInclusion(proof, transaction.id, chain);
    const hashes = proof.siblings.length / 64;
    const path = hashes ? `A path of ${plural(hashes, "hash", "hashes")} leads to` : "It is the only one of";
    return `${path} vertex ${short(vertex)}, which ${author} has signed.`;
  });
  const ordered = await step("Order", async () => {
    const commit = await link.call("commit", { commit_index: transaction.commit_index, count: 0 });
    verifyOrdered(commit, vertex);
    return `Commit ${grouped(transaction.commit_index)} with digest ${short(commit.digest)} orders this vertex.`;
  });
  return [signed, included, ordered];
}

async function step(name: string, act: () => string | Promise<string>): Promise<Check> {
  try {
    return { name, verdict: "good", words: await act() };
  } catch (error) {
    return failed(name, error);
  }
}
