// The key of a page proves which session ids the page has made: their random part is a hash of the key.
//
// An id is public, as it stands in logs and in headers, so a receiver of lines must not take it as a proof. The key is
// sent to the page's own receiver alone, and nobody finds it from an id: 74 bits of the hash are in it. Any process of
// a server can check it, without anything that was stored before.

import { hex, uuid7 } from "./ids.js";

export const PAGE_KEY_HEADER = "X-Page-Key";
const KEY = /^[0-9a-f]{32}$/;
const TIME_DIGITS = 12;
const BLOCK_BYTES = 64;

/** Return the key of a page. */
export function newPageKey() {
  return hex(crypto.getRandomValues(new Uint8Array(16)));
}

/**
 * Return the session id, a UUID version 7, that a page has made at a time.
 * @param {string} key
 * @param {number} now milliseconds since 1970
 */
export function idOfKey(key, now) {
  const ms = Math.floor(now);
  return uuid7(ms, sha256(`${key} ${ms}`));
}

/**
 * Return whether a session id was made out of a key.
 * @param {string} sessionId
 * @param {string} key
 */
export function isIdOfKey(sessionId, key) {
  const ms = Number.parseInt(sessionId.replaceAll("-", "").slice(0, TIME_DIGITS), 16);
  return KEY.test(key) && ms >= 0 && idOfKey(key, ms) === sessionId;
}

/**
 * Return the SHA-256 of a text of at most 55 ASCII characters: the browser's own is asynchronous, and needs https.
 * @param {string} text
 */
export function sha256(text) {
  const block = new DataView(new ArrayBuffer(BLOCK_BYTES));
  for (let i = 0; i < text.length; i += 1) block.setUint8(i, text.charCodeAt(i));
  block.setUint8(text.length, 0x80);
  block.setUint32(BLOCK_BYTES - 4, text.length * 8);
  const words = new Uint32Array(64);
  for (let i = 0; i < 16; i += 1) words[i] = block.getUint32(i * 4);
  for (let i = 16; i < 64; i += 1) {
    const [a, b] = [words[i - 15], words[i - 2]];
    words[i] = words[i - 16] + words[i - 7] +
      (rotated(a, 7) ^ rotated(a, 18) ^ (a >>> 3)) + (rotated(b, 17) ^ rotated(b, 19) ^ (b >>> 10));
  }
  let [a, b, c, d, e, f, g, h] = START;
  for (let i = 0; i < 64; i += 1) {
    const one = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[i] + words[i];
    const two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
  }
  const result = new DataView(new ArrayBuffer(32));
  [a, b, c, d, e, f, g, h].forEach((word, i) => result.setUint32(i * 4, word + START[i]));
  return new Uint8Array(result.buffer);
}

/**
 * @param {number} word of 32 bits
 * @param {number} bits to the right
 */
function rotated(word, bits) {
  return (word >>> bits) | (word << (32 - bits));
}

// The constants are the first 32 bits of the fractions of roots of the first primes.
const PRIMES = Array.from({ length: 312 }, (_, n) => n).filter((n) => n > 1 && isPrime(n));
const START = Uint32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const ROUNDS = Uint32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)));

/** @param {number} n */
function isPrime(n) {
  for (let i = 2; i * i <= n; i += 1) if (n % i === 0) return false;
  return true;
}

/** @param {number} value */
function fraction(value) {
  return (value % 1) * 2 ** 32;
}
