/** What the node's API answers, as its description says. Amounts are decimal strings, bytes are hexadecimal. */

export interface ValidatorRef {
  readonly kind: "validator";
  readonly round: number;
  readonly author: number;
  readonly digest: string;
}

export interface OperatorRef {
  readonly kind: "operator";
  readonly round: number;
  readonly issuer: string;
  readonly digest: string;
}

export type VertexRef = ValidatorRef | OperatorRef;

export interface LedgerInfo {
  readonly name: string;
  readonly network: string;
  readonly genesis_digest: string;
  readonly supply: string;
  readonly modules: readonly string[];
  readonly validators: readonly { readonly name: string; readonly public_key: string; readonly stake: string }[];
  readonly fee_min: string;
  readonly checkpoint_commits: number;
  readonly version: string;
}

export interface Genesis {
  readonly digest: string;
  readonly encoding: string;
}

export interface Status {
  readonly commit_index: number;
  readonly time_s: number;
  readonly round: number;
  readonly checkpoint_index: number;
  readonly validator: number | null;
  readonly is_ready: boolean;
  readonly reasons: readonly { readonly code: string; readonly text: string }[];
  readonly version: string;
}

export interface Transaction {
  readonly id: string;
  readonly commit_index: number;
  readonly position: number;
  readonly status: string;
  readonly time_s: number;
  readonly kind: number;
  readonly asset: number;
  readonly nonce: number;
  readonly valid_until: number;
  readonly body_size: number;
  readonly amount: string;
  readonly fee: string;
  readonly sender: string;
  readonly recipient: string;
  readonly public_key: string;
  readonly record: string;
  readonly body?: string;
}

export interface Receipt {
  readonly vertex: VertexRef;
  readonly row: number;
  readonly operation: Operation | null;
}

export interface Operation {
  readonly status: string;
  readonly refusal: string;
  readonly events: readonly { readonly name: string; readonly fields: Readonly<Record<string, unknown>> }[];
}

export interface TransactionState {
  readonly id: string;
  readonly phase: string | null;
  readonly message?: string;
  readonly commit_index?: number;
  readonly status?: string;
}

export interface InclusionProof {
  readonly vertex: VertexRef;
  readonly header: string;
  readonly row: number;
  readonly signature: string;
  readonly siblings: string;
}

export interface Account {
  readonly address: string;
  readonly balance: string;
  readonly next_nonce: number;
  readonly nonce_limit: number;
  readonly flags: number;
  readonly commit_index: number;
}

export interface HistoryPage {
  readonly items: readonly Transaction[];
  readonly cursor: string | null;
}

export interface Certificate {
  readonly chain: string;
  readonly epoch: number;
  readonly commit_index: number;
  readonly commit_digest: string;
  readonly state_root: string;
  readonly signatures: readonly { readonly author: number; readonly signature: string }[];
}

export interface AccountProof {
  readonly address: string;
  readonly asset: number;
  readonly line: { readonly balance: string; readonly nonce_base: number; readonly flags: number } | null;
  readonly state_proof: string;
  readonly certificate: Certificate;
}

export interface CommitSummary {
  readonly commit_index: number;
  readonly epoch: number;
  readonly time_ms: number;
  readonly digest: string;
  readonly prev_digest: string;
  readonly leader: VertexRef;
  readonly vertices: number;
  readonly transactions: number;
  readonly statuses: Readonly<Record<string, number>>;
}

export interface Commit extends CommitSummary {
  readonly vertex_refs: readonly VertexRef[];
  readonly rows: readonly Transaction[];
  readonly next_row: number | null;
}

export interface CommitPage {
  readonly commits: readonly CommitSummary[];
  readonly next: number | null;
}

export interface ValidatorLine {
  readonly index: number;
  readonly name: string;
  readonly public_key: string;
  readonly stake: string;
  readonly is_self: boolean;
  readonly is_linked: boolean;
  readonly last_round: number | null;
  readonly vertices: number;
  readonly rounds: number;
  readonly misses: number;
  readonly leads: number;
  readonly leads_missed: number;
}

export interface Validators {
  readonly round: number;
  readonly validators: readonly ValidatorLine[];
}

export interface DagVertex {
  readonly name: string;
  readonly kind: "validator" | "operator";
  readonly author: number | null;
  readonly issuer: string;
  readonly round: number;
  readonly time_ms: number;
  readonly transactions: number;
  readonly bytes: number;
  readonly parents: readonly string[];
}

export interface DagCommit {
  readonly commit_index: number;
  readonly time_ms: number;
  readonly leader: string;
  readonly vertices: readonly string[];
  readonly transactions: number;
}

export interface DagEvent {
  readonly is_gap: boolean;
  readonly round: number;
  readonly gc_round: number;
  readonly vertices: readonly DagVertex[];
  readonly commits: readonly DagCommit[];
}

export interface VertexDetail {
  readonly digest: string;
  readonly kind: "validator" | "operator";
  readonly author: number | null;
  readonly issuer: string;
  readonly round: number;
  readonly time_ms: number;
  readonly parents: readonly VertexRef[];
  readonly tips: readonly VertexRef[];
  readonly transactions: number;
  readonly bytes: number;
  readonly payload_root: string;
  readonly commit_index: number | null;
  readonly is_leader: boolean;
  readonly ids: readonly string[];
  readonly seq?: number | null;
}

/** The methods that the explorer calls: their parameters and results. */
export interface Methods {
  ledger_info: [Record<never, never>, LedgerInfo];
  genesis: [Record<never, never>, Genesis];
  status: [Record<never, never>, Status];
  validators: [Record<never, never>, Validators];
  vertex: [{ digest: string }, VertexDetail | null];
  commit: [{ commit_index: number; first?: number; count?: number }, Commit];
  commits: [{ first: number; count: number }, CommitPage];
  transaction: [{ id: string }, Transaction | null];
  receipt: [{ id: string }, Receipt | null];
  phase: [{ id: string }, TransactionState];
  inclusion_proof: [{ id: string }, InclusionProof | null];
  account: [{ address: string }, Account];
  history: [{ address: string; limit: number; cursor?: string | null }, HistoryPage];
  account_proof: [{ address: string; asset?: number; wait_ms?: number }, AccountProof];
}

/** The subscriptions: what they are called with besides the cursor, and what they tell. */
export interface Feeds {
  subscribe_dag: [Record<never, never>, DagEvent];
  subscribe_commits: [Record<never, never>, CommitSummary];
}
