/** One WebSocket to the node: calls and subscriptions of JSON-RPC. A lost link comes back with growing pauses, and
 * each subscription goes on behind its last cursor. */

import { ApiError } from "./errors.ts";
import { backoffMs } from "./backoff.ts";
import { parseMessage, type Answer, type Notice } from "./messages.ts";
import type { Feeds, Methods } from "./types.ts";

const CALL_MS = 40_000; // the node itself waits up to 30 s for what is final
const STEADY_MS = 5_000; // a link that holds so long starts the pauses anew

/** What the link needs of the world, so that tests can stand in for it. */
export interface World {
  open(): Socket;
  after(ms: number, act: () => void): () => void;
  random(): number;
}

export interface Socket {
  send(text: string): void;
  close(): void;
  onopen: ((event: Event) => unknown) | null;
  onmessage: ((event: MessageEvent<unknown>) => unknown) | null;
  onclose: ((event: CloseEvent) => unknown) | null;
}

export type LinkState =
  | { readonly kind: "connecting" }
  | { readonly kind: "open"; readonly times: number }
  | { readonly kind: "lost"; readonly retryMs: number; readonly reason: string };

export interface FeedHandlers<Event> {
  /** cursor: of this event. */
  onEvent(event: Event, cursor: number): void;
  /** The subscription begins anew: what was told before may have a gap to what comes. */
  onGap(): void;
  onError(error: ApiError): void;
}

interface Call {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: ApiError) => void;
  readonly cancel: () => void;
}

interface Feed {
  readonly method: keyof Feeds;
  readonly handlers: FeedHandlers<never>;
  cursor: number | null;
  number: number | null;
}

export class Link {
  private socket: Socket | null = null;
  private isOpen = false;
  private failures = 0;
  private times = 0;
  private ids = 0;
  private readonly calls = new Map<number, Call>();
  private readonly feeds = new Set<Feed>();
  private readonly listeners = new Set<(state: LinkState) => void>();
  private waiting: (() => void)[] = [];
  private cancelRetry: (() => void) | null = null;
  private cancelSteady: (() => void) | null = null;
  state: LinkState = { kind: "connecting" };

  constructor(private readonly world: World) {}

  /** Connect now, also in the middle of a pause. */
  connect(): void {
    if (this.socket !== null) return;
    this.cancelRetry?.();
    this.cancelRetry = null;
    this.tell({ kind: "connecting" });
    const socket = this.world.open();
    this.socket = socket;
    socket.onopen = () => this.opened();
    socket.onmessage = (event) => this.take(event.data);
    socket.onclose = (event) => this.lost(event.reason);
  }

  /** Give the present socket up, as if it had been lost. */
  drop(reason: string): void {
    const socket = this.socket;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.lost(reason);
  }

  watch(listener: (state: LinkState) => void): () => void {
    this.listeners.add(listener);
    listener(this.state);
    return () => this.listeners.delete(listener);
  }

  /** Call a method; a call made while there is no link waits for one. */
  async call<Name extends keyof Methods>(method: Name, params: Methods[Name][0], timeoutMs = CALL_MS): Promise<Methods[Name][1]> {
    await this.linked(timeoutMs);
    // The node's own description is what its answers are checked against, in its tests.
    return (await this.request(method, params, timeoutMs)) as Methods[Name][1];
  }

  /** Follow a feed, behind `after` if it is given. Returns what ends it. */
  follow<Name extends keyof Feeds>(method: Name, after: number | null, handlers: FeedHandlers<Feeds[Name][1]>): () => void {
    const feed: Feed = { method, handlers: handlers as FeedHandlers<never>, cursor: after, number: null };
    this.feeds.add(feed);
    if (this.isOpen) void this.subscribe(feed);
    return () => {
      this.feeds.delete(feed);
      this.unsubscribe(feed);
    };
  }

  private unsubscribe(feed: Feed): void {
    if (feed.number === null || !this.isOpen) return;
    this.request("unsubscribe", { subscription: feed.number }, CALL_MS).catch(() => undefined);
  }

  private opened(): void {
    this.isOpen = true;
    this.times += 1;
    this.cancelSteady = this.world.after(STEADY_MS, () => {
      this.failures = 0;
    });
    this.tell({ kind: "open", times: this.times });
    for (const feed of this.feeds) void this.subscribe(feed);
    const waiting = this.waiting;
    this.waiting = [];
    for (const go of waiting) go();
  }

  private lost(reason: string): void {
    this.socket = null;
    this.isOpen = false;
    this.cancelSteady?.();
    for (const call of [...this.calls.values()]) call.reject(new ApiError("link", reason || "the link was lost"));
    for (const feed of this.feeds) feed.number = null;
    const retryMs = backoffMs(this.failures++, this.world.random());
    this.cancelRetry = this.world.after(retryMs, () => {
      this.cancelRetry = null;
      this.connect();
    });
    this.tell({ kind: "lost", retryMs, reason });
  }

  private async subscribe(feed: Feed): Promise<void> {
    const socket = this.socket;
    try {
      const params = feed.cursor === null ? {} : { after: feed.cursor };
      await this.request(feed.method, params, CALL_MS, (result) => {
        feed.number = numberOf(result, "subscription");
        if (!this.feeds.has(feed)) this.unsubscribe(feed); // ended while it was asked for
      });
    } catch (error) {
      if (!(error instanceof ApiError) || socket !== this.socket || !this.feeds.has(feed)) return;
      if (error.code === "cursor_ahead") {
        feed.cursor = null; // the node begins anew: so does the subscription
        feed.handlers.onGap();
        await this.subscribe(feed);
      } else feed.handlers.onError(error);
    }
  }

  private linked(timeoutMs: number): Promise<void> {
    if (this.isOpen) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const cancel = this.world.after(timeoutMs, () => {
        this.waiting = this.waiting.filter((one) => one !== go);
        reject(new ApiError("link", "there is no link to the node"));
      });
      const go = (): void => {
        cancel();
        resolve();
      };
      this.waiting.push(go);
    });
  }

  /** onResult runs before any message behind the answer is read. */
  private request(method: string, params: object, timeoutMs: number, onResult?: (result: unknown) => void): Promise<unknown> {
    const socket = this.socket;
    if (socket === null || !this.isOpen) return Promise.reject(new ApiError("link", "there is no link to the node"));
    const id = ++this.ids;
    return new Promise((resolve, reject) => {
      const cancel = this.world.after(timeoutMs, () => {
        this.calls.delete(id);
        reject(new ApiError("timeout", `${method}: no answer within ${timeoutMs} ms`));
      });
      const end = (): void => {
        cancel();
        this.calls.delete(id);
      };
      this.calls.set(id, {
        cancel,
        resolve: (value) => {
          end();
          onResult?.(value);
          resolve(value);
        },
        reject: (error) => {
          end();
          reject(error);
        },
      });
      socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    });
  }

  private take(data: unknown): void {
    if (typeof data !== "string") return;
    const message = parseMessage(data);
    if (message === null) return;
    if (message.kind === "answer") this.settle(message);
    else this.notify(message);
  }

  private settle(answer: Answer): void {
    const call = this.calls.get(answer.id);
    if (call === undefined) return;
    if (answer.error === null) call.resolve(answer.result);
    else call.reject(answer.error);
  }

  private notify(notice: Notice): void {
    for (const feed of this.feeds) {
      if (feed.number !== notice.subscription) continue;
      if (notice.error !== null) {
        feed.number = null;
        feed.handlers.onError(notice.error);
        return;
      }
      feed.cursor = notice.cursor;
      feed.handlers.onEvent(notice.result as never, notice.cursor);
    }
  }

  private tell(state: LinkState): void {
    this.state = state;
    for (const listener of this.listeners) listener(state);
  }
}

function numberOf(value: unknown, field: string): number | null {
  if (typeof value !== "object" || value === null || !(field in value)) return null;
  const found: unknown = Reflect.get(value, field);
  return typeof found === "number" ? found : null;
}
