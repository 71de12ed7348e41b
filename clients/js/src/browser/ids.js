// Ids that a page makes itself, before the first request.

/**
 * Return bytes as lower-case hexadecimal digits.
 * @param {Uint8Array} bytes
 */
export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Return a UUID version 7 (RFC 9562): such ids sort by the time at which they were made.
 * @param {number} now milliseconds since 1970
 * @param {Uint8Array} random 10 bytes or more
 */
export function uuid7(now = Date.now(), random = crypto.getRandomValues(new Uint8Array(10))) {
  const bytes = new Uint8Array(16);
  bytes.set(random.subarray(0, 10), 6);
  // The time has 48 bits; bitwise operators of JavaScript are limited to 32, so divide.
  for (let i = 5, rest = now; i >= 0; i -= 1, rest = Math.floor(rest / 256)) {
    bytes[i] = rest % 256;
  }
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const text = hex(bytes);
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
}

/** Return eight hexadecimal digits that name this load of the page (`boot` in its log lines). */
export function bootId() {
  return hex(crypto.getRandomValues(new Uint8Array(4)));
}
