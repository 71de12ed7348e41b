// Ids made in the browser, before anybody is asked.

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A UUID version 7 (RFC 9562): ids that sort by the time of their making. */
export function uuid7(now = Date.now()) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  for (let i = 0, rest = now; i < 6; i += 1, rest = Math.floor(rest / 256)) {
    bytes[5 - i] = rest % 256;
  }
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const text = hex(bytes);
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
}

/** Eight hex digits that name one life of this page. */
export function bootId() {
  return hex(crypto.getRandomValues(new Uint8Array(4)));
}
