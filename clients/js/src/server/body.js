// Bodies of requests, up to a bound.

/**
 * Return the text of a request's body, or null if it is longer than a number of bytes.
 *
 * No more than these are kept, also where the request does not state its length.
 * @param {Request} request
 * @param {number} bytes
 * @returns {Promise<string | null>}
 */
export async function boundedText(request, bytes) {
  if (Number(request.headers.get("content-length")) > bytes) return null;
  const reader = request.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    size += part.value.byteLength;
    if (size > bytes) {
      reader.cancel().catch(() => {}); // not awaited: the sender decides when that ends
      return null;
    }
    text += decoder.decode(part.value, { stream: true });
  }
  return text + decoder.decode();
}
