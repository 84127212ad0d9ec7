/** Figures as text. Amounts are exact: integers of any size, in coins of 10^18 units. */

const UNITS = 10n ** 18n;

/** "1 515 000.25": all digits that there are, groups of three before the point, none lost. */
export function coins(units: string | bigint): string {
  const value = BigInt(units);
  const sign = value < 0n ? "\u2212" : "";
  const size = value < 0n ? -value : value;
  const rest = (size % UNITS).toString().padStart(18, "0").replace(/0+$/, "");
  return `${sign}${grouped(size / UNITS)}${rest && `.${rest}`}`;
}

/** An integer with its digits in groups of three, which narrow spaces part. */
export function grouped(value: bigint | number | string): string {
  return value.toString().replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** The start and the end of what is too long to read. */
export function short(text: string, head = 8, tail = 6): string {
  return text.length <= head + tail + 1 ? text : `${text.slice(0, head)}\u2026${text.slice(-tail)}`;
}

/** An address keeps its network's prefix. */
export function shortAddress(text: string): string {
  return short(text, text.indexOf("1") + 7, 6);
}

export function bytes(size: number): string {
  if (size < 1024) return `${size} B`;
  return size < 1024 * 1024 ? `${(size / 1024).toFixed(1)} KiB` : `${(size / 1024 / 1024).toFixed(1)} MiB`;
}

export function milliseconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

export function rate(perSecond: number): string {
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : grouped(Math.round(perSecond));
}

/** "14:03:22.185", in the reader's time zone. */
export function clock(ms: number): string {
  const when = new Date(ms);
  const two = (value: number): string => value.toString().padStart(2, "0");
  const time = `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
  return `${time}.${when.getMilliseconds().toString().padStart(3, "0")}`;
}

/** "2026-11-23 14:03:22", in the reader's time zone. */
export function moment(ms: number): string {
  const when = new Date(ms);
  const two = (value: number): string => value.toString().padStart(2, "0");
  return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ${clock(ms).slice(0, 8)}`;
}

const STATUS_WORDS: Readonly<Record<string, string>> = {
  applied: "Applied",
  insufficient: "Failed: the balance did not hold the amount",
  overflow: "Failed: the recipient\u2019s balance would overflow",
  accepted: "Waits in the pool of this node",
  sequenced: "Has its place in the main chain, not durable yet",
  final: "Final",
  refused: "Refused",
  dropped: "Dropped from the pool; it may be handed in again",
};

/** A status or phase of the API in words. */
export function statusWords(status: string): string {
  const known = STATUS_WORDS[status];
  if (known !== undefined) return known;
  const words = status.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}
