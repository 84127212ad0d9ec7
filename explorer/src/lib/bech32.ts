/** The checksum of an address's text (bech32m, BIP-350). */

const ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
const BECH32M = 0x2bc830a3;
const SYMBOLS = 1 + 32 + 6; // version, 160 bits, checksum

function residue(symbols: readonly number[]): number {
  let state = 1;
  for (const symbol of symbols) {
    const top = state >>> 25;
    state = ((state & 0x1ffffff) << 5) ^ symbol;
    for (let bit = 0; bit < 5; bit++) if ((top >> bit) & 1) state ^= GENERATOR[bit] ?? 0;
  }
  return state;
}

/** The 32 symbols of the address that `text` spells, or null if the checksum or the form is wrong. */
export function addressSymbols(text: string): readonly number[] | null {
  const lower = text.toLowerCase();
  if (text !== lower && text !== text.toUpperCase()) return null;
  const separator = lower.indexOf("1");
  if (separator < 1 || lower.length !== separator + 1 + SYMBOLS) return null;
  const symbols = [...lower.slice(separator + 1)].map((one) => ALPHABET.indexOf(one));
  if (symbols.includes(-1) || symbols[0] !== 0) return null;
  const codes = [...lower.slice(0, separator)].map((one) => one.charCodeAt(0));
  const prefix = [...codes.map((code) => code >> 5), 0, ...codes.map((code) => code & 31)];
  return residue([...prefix, ...symbols]) === BECH32M ? symbols.slice(1, 33) : null;
}
