// Where the edge of Cordboard is, and the key with which this server may call it.
const START_URL = process.env.BOT_START_URL ?? "http://localhost:7860/start";
const KEY = process.env.BOT_START_PUBLIC_API_KEY;

export const EDGE = new URL(START_URL);
export const BODY_BYTES = 64 * 1024; // of a request that is passed on

/** Send a request to the edge; its session is that of the running code. */
export async function askEdge(path: string, method: string, body?: string): Promise<Response> {
  const answer = await fetch(`${START_URL.replace(/\/start$/, "")}${path}`, {
    method,
    headers: { "Content-Type": "application/json", ...(KEY && { Authorization: `Bearer ${KEY}` }) },
    body,
  });
  return new Response(answer.body, { status: answer.status, headers: { "Content-Type": "application/json" } });
}
