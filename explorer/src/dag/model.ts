/** The DAG as the feed tells it: vertices with their lanes and places, what is committed, and the main chain.
 * It holds a bounded number of rounds; the oldest go first. */

import type { DagEvent, DagVertex } from "../api/types.ts";

export const VERTICES_MAX = 20_000;
export const ROUNDS_MAX = 1_500;
const SLOT_STEP = 0.23; // of a round, between two vertices of one operator in it
const SLOTS = 4; // places that a round has for them

export interface Node {
  readonly name: string;
  readonly lane: Lane;
  readonly round: number;
  /** Place to the right, in rounds. An operator's vertices stand behind their anchor round. */
  readonly x: number;
  readonly timeMs: number;
  readonly transactions: number;
  /** Those parents that are held. */
  readonly parents: readonly Node[];
  /** By which vertices are thinned out, always the same ones. */
  readonly chance: number;
  commitIndex: number | null;
  isLeader: boolean;
}

export interface Lane {
  readonly key: string;
  readonly kind: "validator" | "operator";
  readonly author: number | null;
  readonly issuer: string;
  readonly counts: Map<number, number>;
}

/** What one event has changed. */
export interface Changes {
  readonly isReset: boolean;
  readonly hasNewLane: boolean;
  readonly added: readonly Node[];
  readonly committed: readonly Node[];
}

export class DagModel {
  readonly nodes = new Map<string, Node>();
  readonly rounds = new Map<number, Node[]>();
  lanes: readonly Lane[] = [];
  /** Leaders in the order of their commits. */
  chain: Node[] = [];
  round = 0;
  gcRound = 0;
  /** Highest round of any vertex, and the lowest that is held. */
  head = 0;
  tail = 0;
  private readonly byKey = new Map<string, Lane>();

  apply(event: DagEvent): Changes {
    if (event.is_gap) this.clear();
    const lanesBefore = this.byKey.size;
    this.round = event.round;
    this.gcRound = event.gc_round;
    const added: Node[] = [];
    for (const vertex of event.vertices) {
      const node = this.add(vertex);
      if (node !== null) added.push(node);
    }
    const committed: Node[] = [];
    for (const commit of event.commits) {
      for (const name of commit.vertices) {
        const node = this.nodes.get(name);
        if (node === undefined || node.commitIndex !== null) continue;
        node.commitIndex = commit.commit_index;
        committed.push(node);
      }
      this.lead(commit.leader, commit.commit_index, committed);
    }
    this.trim();
    const hasNewLane = this.byKey.size !== lanesBefore;
    if (hasNewLane) this.lanes = [...this.byKey.values()].sort(byLane);
    return { isReset: event.is_gap, hasNewLane, added, committed };
  }

  clear(): void {
    this.nodes.clear();
    this.rounds.clear();
    this.byKey.clear();
    this.lanes = [];
    this.chain = [];
    this.round = this.gcRound = this.head = this.tail = 0;
  }

  /** Nodes of the rounds from `first` to `last`, oldest round first. */
  *between(first: number, last: number): Generator<Node> {
    const end = Math.min(last, this.head);
    for (let round = Math.max(first, this.tail); round <= end; round++) yield* this.rounds.get(round) ?? [];
  }

  private add(vertex: DagVertex): Node | null {
    if (this.nodes.has(vertex.name)) return null;
    const lane = this.laneOf(vertex);
    const slot = lane.counts.get(vertex.round) ?? 0;
    lane.counts.set(vertex.round, slot + 1);
    const behind = vertex.kind === "validator" ? 0 : SLOT_STEP * (1 + Math.min(slot, SLOTS - 1));
    const node: Node = {
      name: vertex.name,
      lane,
      round: vertex.round,
      x: vertex.round + behind,
      timeMs: vertex.time_ms,
      transactions: vertex.transactions,
      parents: vertex.parents.flatMap((parent) => this.nodes.get(parent) ?? []),
      chance: Number.parseInt(vertex.name.slice(0, 8), 16) || 0,
      commitIndex: null,
      isLeader: false,
    };
    this.nodes.set(node.name, node);
    const row = this.rounds.get(node.round);
    if (row === undefined) this.rounds.set(node.round, [node]);
    else row.push(node);
    if (this.nodes.size === 1 || node.round < this.tail) this.tail = node.round;
    this.head = Math.max(this.head, node.round);
    return node;
  }

  private laneOf(vertex: DagVertex): Lane {
    const key = vertex.author === null ? `operator ${vertex.issuer}` : `validator ${vertex.author}`;
    const known = this.byKey.get(key);
    if (known !== undefined) return known;
    const { kind, author, issuer } = vertex;
    const lane: Lane = { key, kind, author, issuer, counts: new Map() };
    this.byKey.set(key, lane);
    return lane;
  }

  private lead(name: string, commitIndex: number, committed: Node[]): void {
    const leader = this.nodes.get(name);
    if (leader === undefined || leader.isLeader) return;
    leader.isLeader = true;
    leader.commitIndex ??= commitIndex;
    if (!committed.includes(leader)) committed.push(leader);
    this.chain.push(leader);
  }

  private trim(): void {
    while (this.nodes.size > VERTICES_MAX || this.head - this.tail >= ROUNDS_MAX) {
      for (const node of this.rounds.get(this.tail) ?? []) {
        this.nodes.delete(node.name);
        node.lane.counts.delete(node.round);
      }
      this.rounds.delete(this.tail);
      this.tail += 1;
    }
    let gone = 0;
    while ((this.chain[gone]?.round ?? this.tail) < this.tail) gone += 1;
    if (gone) this.chain = this.chain.slice(gone);
  }
}

/** Validators by their index, then operators by their key. */
function byLane(a: Lane, b: Lane): number {
  if (a.author !== null && b.author !== null) return a.author - b.author;
  if (a.author !== null || b.author !== null) return a.author !== null ? -1 : 1;
  return a.issuer < b.issuer ? -1 : 1;
}
