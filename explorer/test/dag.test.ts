import { describe, expect, test } from "vitest";
import type { DagCommit, DagEvent, DagVertex } from "../src/api/types.ts";
import { Camera, ROUND_PX_MAX, ROUND_PX_MIN } from "../src/dag/camera.ts";
import { RoundMeter } from "../src/dag/meter.ts";
import { DagModel, ROUNDS_MAX, VERTICES_MAX } from "../src/dag/model.ts";
import { nodeAt, walk } from "../src/dag/pick.ts";
import { ALL, EDGES_BUDGET, laneCap, planFor, planWords, samePlan, type Load } from "../src/dag/thin.ts";

function vertex(round: number, author: number | null, parents: readonly string[] = [], tag = 0): DagVertex {
  const issuer = author === null ? "ab".repeat(32) : author.toString(16).padStart(64, "0");
  return { name: name(round, author, tag), kind: author === null ? "operator" : "validator", author, issuer, round, time_ms: round * 100, transactions: 1, bytes: 10, parents };
}

function name(round: number, author: number | null, tag = 0): string {
  return [round, author === null ? 255 : author, tag].map((part) => part.toString(16).padStart(4, "0")).join("").padEnd(16, "0");
}

function event(vertices: readonly DagVertex[], commits: readonly DagCommit[] = [], isGap = false): DagEvent {
  return { is_gap: isGap, round: Math.max(0, ...vertices.map((one) => one.round)), gc_round: 0, vertices, commits };
}

function commit(index: number, leader: string, vertices: readonly string[]): DagCommit {
  return { commit_index: index, time_ms: index, leader, vertices, transactions: 1 };
}

/** Rounds of n validators, each with all of the round before as parents. */
function grown(rounds: number, authors = 4): DagModel {
  const model = new DagModel();
  for (let round = 1; round <= rounds; round++) {
    const parents = Array.from({ length: authors }, (_, author) => name(round - 1, author));
    model.apply(event(Array.from({ length: authors }, (_, author) => vertex(round, author, parents))));
  }
  return model;
}

describe("model", () => {
  test("lanes are validators by index, then operators by key", () => {
    const model = new DagModel();
    model.apply(event([vertex(1, null), vertex(1, 2), vertex(1, 0)]));
    expect(model.lanes.map((lane) => lane.key)).toEqual(["validator 0", "validator 2", `operator ${"ab".repeat(32)}`]);
  });

  test("a child stands to the right of its parents, also within an operator's round", () => {
    const model = new DagModel();
    model.apply(event([vertex(1, 0), vertex(1, null, [name(1, 0)], 1), vertex(1, null, [name(1, null, 1)], 2)]));
    for (const node of model.nodes.values()) for (const parent of node.parents) expect(parent.x).toBeLessThan(node.x);
    expect(Math.max(...[...model.nodes.values()].map((node) => node.x))).toBeLessThan(2);
  });

  test("a vertex told twice counts once, an unknown parent gives no edge", () => {
    const model = new DagModel();
    const changes = model.apply(event([vertex(5, 0, ["ffffffffffffffff"]), vertex(5, 0)]));
    expect(changes.added).toHaveLength(1);
    expect(changes.added[0]?.parents).toEqual([]);
  });

  test("commits colour their vertices, and leaders make the chain", () => {
    const model = grown(3);
    const changes = model.apply(event([], [commit(1, name(1, 0), [name(1, 0)]), commit(2, name(2, 1), [name(1, 1), name(2, 1)])]));
    expect(changes.committed.map((node) => node.name)).toEqual([name(1, 0), name(1, 1), name(2, 1)]);
    expect(model.chain.map((node) => node.name)).toEqual([name(1, 0), name(2, 1)]);
    expect(model.nodes.get(name(1, 1))?.commitIndex).toBe(2);
    expect(model.nodes.get(name(3, 0))?.commitIndex).toBeNull();
  });

  test("a gap forgets all", () => {
    const model = grown(3);
    model.apply(event([vertex(9, 1)], [], true));
    expect([...model.nodes.keys()]).toEqual([name(9, 1)]);
    expect([model.tail, model.head, model.lanes.length, model.chain.length]).toEqual([9, 9, 1, 0]);
  });

  test.each([ROUNDS_MAX - 1, ROUNDS_MAX, ROUNDS_MAX + 1])("%i rounds keep to the bound", (rounds) => {
    const model = grown(rounds, 1);
    expect(model.rounds.size).toBe(Math.min(rounds, ROUNDS_MAX));
    expect(model.nodes.size).toBe(model.rounds.size);
    expect(model.tail).toBe(rounds - model.rounds.size + 1);
  });

  test("so do vertices and the chain", () => {
    const authors = 40;
    const rounds = VERTICES_MAX / authors + 3;
    const model = grown(rounds, authors);
    expect(model.nodes.size).toBe(VERTICES_MAX);
    model.apply(event([], [commit(1, name(rounds, 0), [name(rounds, 0)])]));
    expect(model.chain).toHaveLength(1);
    expect(model.lanes[0]?.counts.size).toBe(VERTICES_MAX / authors);
  });
});

describe("thinning", () => {
  const load = (edges: number, lanes: Readonly<Record<string, number>> = {}): Load => ({ edges, vertices: new Map(Object.entries(lanes)) });

  test.each([
    [EDGES_BUDGET - 1, 1],
    [EDGES_BUDGET, 1],
    [EDGES_BUDGET + 1, 2],
    [EDGES_BUDGET * 5, 6],
  ])("%i edges draw 1 of %i", (edges, step) => {
    expect(planFor(load(edges), ALL).edgeStep).toBe(step);
  });

  test("edges go first, then vertices of the busy lanes alone", () => {
    const plan = planFor(load(9000, { quiet: 100, busy: 2000, busier: 4000 }), ALL, 4000, 2400);
    expect(plan.edgeStep).toBe(3);
    expect([...plan.laneSteps]).toEqual([
      ["busy", 2],
      ["busier", 4],
    ]);
    expect(planWords(plan)).toBe("Drawing 1 of 3 edges and 1 of 2 to 4 vertices in 2 busy lanes");
    expect(planWords(ALL)).toBe("");
  });

  test("what is drawn keeps to the budget, whatever the lanes", () => {
    for (let seed = 1; seed < 60; seed++) {
      const lanes = Object.fromEntries(Array.from({ length: 1 + (seed % 9) }, (_, at) => [`lane ${at}`, (seed * 7919 * (at + 1)) % 5003]));
      const plan = planFor(load(0, lanes), ALL, 4000, 2400);
      const drawn = Object.entries(lanes).reduce((sum, [lane, count]) => sum + count / (plan.laneSteps.get(lane) ?? 1), 0);
      expect(drawn).toBeLessThanOrEqual(2400);
    }
  });

  test("a load at the edge of the budget does not flicker", () => {
    const thinned = planFor(load(EDGES_BUDGET + 1), ALL);
    expect(planFor(load(EDGES_BUDGET * 0.95), thinned).edgeStep).toBe(2);
    expect(planFor(load(EDGES_BUDGET * 0.7), thinned).edgeStep).toBe(1);
    expect(samePlan(thinned, planFor(load(EDGES_BUDGET * 0.95), thinned))).toBe(true);
  });

  test("a cap leaves small lanes alone", () => {
    expect(laneCap([10, 20, 1000], 100)).toBe(70);
    expect(laneCap([10, 20], 100)).toBe(Number.POSITIVE_INFINITY);
    expect(laneCap([], 100)).toBe(Number.POSITIVE_INFINITY);
    expect(laneCap([500, 500], 1)).toBe(1);
  });
});

describe("camera", () => {
  function camera(): Camera {
    const made = new Camera();
    made.size = { width: 1000, height: 422, gutter: 100, axis: 22 };
    made.right = 100;
    return made;
  }

  test("pixels and rounds are inverse", () => {
    const made = camera();
    for (const round of [80, 99.5, 100]) expect(made.toRound(made.toX(round))).toBeCloseTo(round);
    expect(made.toX(made.right)).toBe(1000);
    expect(made.toX(made.left)).toBeCloseTo(100);
    expect(made.toLane(made.toY(3))).toBeCloseTo(3);
  });

  test("follows the head smoothly, and jumps where it is far", () => {
    const made = camera();
    made.step(101, 16, false);
    expect(made.right).toBeGreaterThan(100);
    expect(made.right).toBeLessThan(101);
    made.step(5000, 16, false);
    expect(made.right).toBeGreaterThan(5000);
  });

  test("who wants no motion gets rare jumps instead", () => {
    const made = camera();
    made.step(100, 16, true);
    let jumps = 0;
    for (let head = 100; head < 140; head += 0.1) if (made.step(head, 16, true)) jumps += 1;
    expect(jumps).toBeGreaterThan(0);
    expect(jumps).toBeLessThan(10);
  });

  test("zoom keeps the round under the pointer, within bounds", () => {
    const made = camera();
    made.isFollowing = false;
    const round = made.toRound(400);
    made.zoom(1.7, 400);
    expect(made.toRound(400)).toBeCloseTo(round);
    made.zoom(1e6, 400);
    expect(made.roundPx).toBe(ROUND_PX_MAX);
    made.zoom(1e-6, 400);
    expect(made.roundPx).toBe(ROUND_PX_MIN);
  });

  test("panning lets the head go, and stays where there are vertices", () => {
    const made = camera();
    made.pan(-10, 0, 4, 1, 100);
    expect(made.isFollowing).toBe(false);
    made.pan(1e9, 0, 4, 1, 100);
    expect(made.right).toBeGreaterThanOrEqual(3);
    made.pan(-1e9, 0, 4, 1, 100);
    expect(made.left).toBeLessThan(100);
  });

  test("lanes fill the height, keep a least height, and then scroll", () => {
    const made = camera();
    made.fitLanes(8);
    expect(made.lanePx).toBe(50);
    made.fitLanes(200);
    expect(made.lanePx).toBe(18);
    made.scrollTo(1e9, 200);
    expect(made.top).toBe(200 * 18 - 400);
  });

  test("the scale follows the rate until the reader chooses one", () => {
    const made = camera();
    expect(made.fitRate(3)).toBe(true);
    expect(made.roundPx).toBe(33);
    expect(made.fitRate(3.2)).toBe(false);
    made.zoom(2, 500);
    expect(made.fitRate(30)).toBe(false);
  });
});

describe("choosing", () => {
  const model = grown(20);
  const made = new Camera();
  made.size = { width: 1000, height: 422, gutter: 100, axis: 22 };
  made.right = 21;
  made.fitLanes(4);

  test("the pointer finds the nearest vertex in reach", () => {
    expect(nodeAt(model, made, made.toX(15) + 4, made.toY(2) - 3)?.name).toBe(name(15, 2));
    expect(nodeAt(model, made, made.toX(15) + 12, made.toY(2) + 40)).toBeNull();
    expect(nodeAt(model, made, 50, made.toY(2))).toBeNull();
  });

  test("keys walk along a lane and across lanes, and stop at the ends", () => {
    const first = walk(model, null, "left");
    expect(first?.round).toBe(20);
    const left = walk(model, first, "left");
    expect(left?.name).toBe(name(19, 0));
    expect(walk(model, left, "down")?.name).toBe(name(19, 1));
    expect(walk(model, first, "right")).toBe(first);
    expect(walk(model, first, "up")).toBe(first);
    expect(walk(new DagModel(), null, "up")).toBeNull();
  });

  test("one that has left the window gives way to the newest", () => {
    const gone = grown(3).nodes.get(name(2, 1)) ?? null;
    const fresh = new DagModel();
    fresh.apply(event([vertex(50, 1)]));
    expect(walk(fresh, gone, "left")?.name).toBe(name(50, 1));
  });
});

test("the meter tells rounds a second of the last seconds", () => {
  const meter = new RoundMeter();
  for (let ms = 0; ms <= 10_000; ms += 100) meter.take(ms, ms < 5000 ? 0 : (ms - 5000) / 100);
  expect(meter.perSecond()).toBeCloseTo(10);
  meter.take(10_100, 1);
  expect(meter.perSecond()).toBe(0);
});
