import { describe, expect, test } from "vitest";
import { backoffMs } from "../src/api/backoff.ts";
import { ApiError, inWords } from "../src/api/errors.ts";
import { Link, type LinkState, type Socket, type World } from "../src/api/link.ts";
import { parseMessage } from "../src/api/messages.ts";
import type { CommitSummary } from "../src/api/types.ts";

interface Request {
  readonly id: number;
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

class FakeSocket implements Socket {
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  readonly sent: Request[] = [];
  isClosed = false;

  send(text: string): void {
    this.sent.push(JSON.parse(text) as Request);
  }

  close(): void {
    this.isClosed = true;
  }

  open(): void {
    this.onopen?.(new Event("open"));
  }

  say(message: object): void {
    this.onmessage?.(new MessageEvent("message", { data: JSON.stringify({ jsonrpc: "2.0", ...message }) }));
  }

  end(reason = ""): void {
    this.onclose?.({ code: 1006, reason } as CloseEvent);
  }

  last(): Request {
    const found = this.sent[this.sent.length - 1];
    if (found === undefined) throw new Error("nothing was sent");
    return found;
  }
}

/** A world whose time passes when the test says so. */
class FakeWorld implements World {
  readonly sockets: FakeSocket[] = [];
  private timers: { atMs: number; act: () => void }[] = [];
  private nowMs = 0;

  open(): Socket {
    const socket = new FakeSocket();
    this.sockets.push(socket);
    return socket;
  }

  after(ms: number, act: () => void): () => void {
    const timer = { atMs: this.nowMs + ms, act };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((one) => one !== timer);
    };
  }

  random(): number {
    return 0;
  }

  pass(ms: number): void {
    this.nowMs += ms;
    const due = this.timers.filter((timer) => timer.atMs <= this.nowMs);
    this.timers = this.timers.filter((timer) => timer.atMs > this.nowMs);
    for (const timer of due) timer.act();
  }

  get socket(): FakeSocket {
    const found = this.sockets[this.sockets.length - 1];
    if (found === undefined) throw new Error("no socket was opened");
    return found;
  }
}

function setUp(): { world: FakeWorld; link: Link; states: LinkState[] } {
  const world = new FakeWorld();
  const link = new Link(world);
  const states: LinkState[] = [];
  link.watch((state) => states.push(state));
  link.connect();
  return { world, link, states };
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

function follow(link: Link, after: number | null): { told: number[]; gaps: number[]; errors: string[]; end: () => void } {
  const told: number[] = [];
  const gaps: number[] = [];
  const errors: string[] = [];
  const end = link.follow("subscribe_commits", after, {
    onEvent: (commit: CommitSummary) => told.push(commit.commit_index),
    onGap: () => gaps.push(told.length),
    onError: (error) => errors.push(error.code),
  });
  return { told, gaps, errors, end };
}

function tell(socket: FakeSocket, subscription: number, cursor: number): void {
  socket.say({ method: "subscription", params: { subscription, cursor, result: { commit_index: cursor } } });
}

describe("calls", () => {
  test("are matched to their answers, in any order", async () => {
    const { world, link } = setUp();
    world.socket.open();
    const first = link.call("account", { address: "a" });
    const second = link.call("account", { address: "b" });
    await turn();
    const [one, two] = world.socket.sent;
    world.socket.say({ id: two?.id, result: { address: "b" } });
    world.socket.say({ id: one?.id, result: { address: "a" } });
    expect((await first).address).toBe("a");
    expect((await second).address).toBe("b");
  });

  test("made before there is a link wait for it", async () => {
    const { world, link } = setUp();
    const status = link.call("status", {});
    await turn();
    expect(world.socket.sent).toEqual([]);
    world.socket.open();
    await turn();
    world.socket.say({ id: world.socket.last().id, result: { round: 7 } });
    expect((await status).round).toBe(7);
  });

  test("end with the node's own code and words", async () => {
    const { world, link } = setUp();
    world.socket.open();
    const call = link.call("transaction", { id: "0" });
    await turn();
    world.socket.say({ id: world.socket.last().id, error: { code: -32602, message: "id: expected 64 digits", data: { code: "param_id" } } });
    await expect(call).rejects.toMatchObject({ code: "param_id" });
  });

  test("without an answer end in time, and when the link is lost at once", async () => {
    const { world, link } = setUp();
    world.socket.open();
    const slow = link.call("status", {}, 1000);
    await turn();
    const rejected = expect(slow).rejects.toMatchObject({ code: "timeout" });
    world.pass(999);
    world.pass(1);
    await rejected;
    const cut = link.call("status", {});
    await turn();
    const lost = expect(cut).rejects.toMatchObject({ code: "link" });
    world.socket.end();
    await lost;
  });
});

describe("subscriptions", () => {
  test("that end before their answer comes are ended at the node", async () => {
    const { world, link } = setUp();
    world.socket.open();
    const { end } = follow(link, null);
    const asked = world.socket.last();
    end();
    expect(world.socket.last()).toBe(asked);
    world.socket.say({ id: asked.id, result: { subscription: 9, commit_index: 0 } });
    await turn();
    expect(world.socket.last()).toMatchObject({ method: "unsubscribe", params: { subscription: 9 } });
  });

  test("go on behind the last cursor after the link was lost", async () => {
    const { world, link, states } = setUp();
    const feed = follow(link, 40);
    world.socket.open();
    expect(world.socket.last()).toMatchObject({ method: "subscribe_commits", params: { after: 40 } });
    world.socket.say({ id: world.socket.last().id, result: { subscription: 3, commit_index: 40 } });
    tell(world.socket, 3, 41); // read right behind the answer
    tell(world.socket, 3, 42);
    world.socket.end("lag cursor=42");
    expect(states[states.length - 1]).toMatchObject({ kind: "lost", reason: "lag cursor=42" });
    world.pass(500);
    world.socket.open();
    expect(world.socket.last().params).toEqual({ after: 42 });
    world.socket.say({ id: world.socket.last().id, result: { subscription: 1 } });
    await turn();
    tell(world.socket, 1, 43);
    expect(feed.told).toEqual([41, 42, 43]);
    expect(feed.gaps).toEqual([]);
  });

  test("begin anew where the node is behind the cursor", async () => {
    const { world, link } = setUp();
    const feed = follow(link, 900);
    world.socket.open();
    world.socket.say({ id: world.socket.last().id, error: { code: -32000, message: "ahead", data: { code: "cursor_ahead" } } });
    await turn();
    expect(feed.gaps).toEqual([0]);
    expect(world.socket.last().params).toEqual({});
  });

  test("tell of an error, and nothing of another subscription", async () => {
    const { world, link } = setUp();
    const feed = follow(link, 1);
    world.socket.open();
    world.socket.say({ id: world.socket.last().id, result: { subscription: 2 } });
    await turn();
    tell(world.socket, 9, 5);
    world.socket.say({ method: "subscription", params: { subscription: 2, cursor: 1, error: { code: "storage", message: "no" } } });
    tell(world.socket, 2, 6);
    expect(feed.told).toEqual([]);
    expect(feed.errors).toEqual(["storage"]);
  });

  test("that are ended are told so, and are not taken up again", async () => {
    const { world, link } = setUp();
    const feed = follow(link, 1);
    world.socket.open();
    world.socket.say({ id: world.socket.last().id, result: { subscription: 2 } });
    await turn();
    feed.end();
    expect(world.socket.last()).toMatchObject({ method: "unsubscribe", params: { subscription: 2 } });
    world.socket.end();
    world.pass(500);
    world.socket.open();
    expect(world.socket.sent).toEqual([]);
  });
});

describe("a lost link", () => {
  test("comes back with growing pauses, and starts anew once it has held", () => {
    const { world, states } = setUp();
    const pauses: number[] = [];
    for (let attempt = 0; attempt < 4; attempt++) {
      world.socket.end();
      const state = states[states.length - 1];
      if (state?.kind === "lost") pauses.push(state.retryMs);
      world.pass(20_000);
    }
    expect(pauses).toEqual([500, 1000, 2000, 4000]);
    world.socket.open();
    world.pass(5000);
    world.socket.end();
    expect(states[states.length - 1]).toMatchObject({ kind: "lost", retryMs: 500 });
  });

  test("is tried at once when the reader asks, and only once", () => {
    const { world, link } = setUp();
    world.socket.end();
    link.connect();
    expect(world.sockets).toHaveLength(2);
    world.pass(60_000);
    expect(world.sockets).toHaveLength(2);
  });

  test("waits the whole pause, whatever pause was cut short before", () => {
    const { world, link } = setUp();
    world.socket.end();
    link.connect();
    world.socket.end(); // the second failure: 1000 ms
    world.pass(500);
    expect(world.sockets).toHaveLength(2);
    world.pass(500);
    expect(world.sockets).toHaveLength(3);
  });

  test("that is given up is closed and told as lost", () => {
    const { world, link, states } = setUp();
    world.socket.open();
    const socket = world.socket;
    link.drop("silent");
    expect(socket.isClosed).toBe(true);
    expect(states[states.length - 1]).toMatchObject({ kind: "lost", reason: "silent" });
  });

  test("pauses stay within 15 s, and chance takes at most a half", () => {
    expect([0, 1, 4, 5, 6, 400].map((failures) => backoffMs(failures, 0))).toEqual([500, 1000, 8000, 15_000, 15_000, 15_000]);
    expect(backoffMs(0, 0.999)).toBeGreaterThanOrEqual(250);
  });
});

describe("messages", () => {
  test("that are none are passed over", () => {
    for (const text of ["", "[]", "7", "{", "null", '{"method":"subscription"}', '{"method":"x","params":{"subscription":1,"cursor":1}}']) {
      expect(parseMessage(text)).toBeNull();
    }
  });

  test("errors are told in words", () => {
    expect(inWords(new ApiError("proof_uncertified", "x"))).toMatch(/checkpoint/);
    expect(inWords(new ApiError("param_id", "id: expected 64 hexadecimal digits"))).toBe("Id: expected 64 hexadecimal digits.");
    expect(inWords(7)).toBe("Something went wrong.");
  });
});
