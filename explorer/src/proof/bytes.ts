/** Bytes: hexadecimal text, comparison, and a reader of little-endian fields that never passes the end. */

export class ProofError extends Error {
  /** code: which rule is broken, as the node's own checks name it. */
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "ProofError";
  }
}

export function fromHex(text: string): Uint8Array {
  if (text.length % 2 || !/^[0-9a-f]*$/.test(text)) throw new ProofError("hex", "not hexadecimal digits");
  const octets = new Uint8Array(text.length / 2);
  for (let at = 0; at < octets.length; at++) octets[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return octets;
}

export function toHex(octets: Uint8Array): string {
  let text = "";
  for (const octet of octets) text += octet.toString(16).padStart(2, "0");
  return text;
}

export function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** -1, 0 or 1: the order of the bytes, a prefix first. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  const size = Math.min(a.length, b.length);
  for (let at = 0; at < size; at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference) return Math.sign(difference);
  }
  return Math.sign(a.length - b.length);
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && compare(a, b) === 0;
}

/** An unsigned integer of `size` bytes, little-endian. */
export function little(value: bigint | number, size: number): Uint8Array {
  const octets = new Uint8Array(size);
  let left = BigInt(value);
  for (let at = 0; at < size; at++, left >>= 8n) octets[at] = Number(left & 0xffn);
  if (left !== 0n) throw new ProofError("range", `${value} does not fit ${size} bytes`);
  return octets;
}

/** Takes fields off the front. ProofError(code) where the bytes end too early. */
export class Reader {
  at = 0;

  constructor(
    readonly octets: Uint8Array,
    private readonly code: string,
  ) {}

  get left(): number {
    return this.octets.length - this.at;
  }

  take(size: number): Uint8Array {
    if (size > this.left) throw new ProofError(this.code, `the bytes end at ${this.octets.length}, ${size} are due at ${this.at}`);
    this.at += size;
    return this.octets.subarray(this.at - size, this.at);
  }

  big(size: number): bigint {
    const taken = this.take(size);
    let value = 0n;
    for (let at = size - 1; at >= 0; at--) value = (value << 8n) | BigInt(taken[at] ?? 0);
    return value;
  }

  /** Of at most 6 bytes, so that it is exact. */
  int(size: number): number {
    return Number(this.big(size));
  }

  /** A text behind its length in one byte, any byte a character. */
  text(): string {
    return String.fromCharCode(...this.take(this.int(1)));
  }
}
