// Serves two route handlers of Next.js as Next.js does, and a page, on a free port: node route_server.mjs FOLDER
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join, resolve } from "node:path";

const folder = resolve(process.argv[2]);
const start = await import(join(folder, "start.mjs"));
const sessions = await import(join(folder, "sessions.mjs"));
const HOP_BY_HOP = new Set(["connection", "host", "transfer-encoding"]);
const HTML = '<!doctype html><meta charset="utf-8"><title>A page of a user</title><script src="/page.js"></script>';

async function handle(request) {
  const { pathname } = new URL(request.url);
  if (pathname === "/") return new Response(HTML, { headers: { "Content-Type": "text/html" } });
  if (pathname === "/page.js") return new Response(readFileSync(join(folder, "page.js")));
  if (pathname === "/api/start") return start[request.method](request);
  if (!pathname.startsWith("/api/sessions/")) return new Response("not found", { status: 404 });
  const [sessionId, ...path] = pathname.replace("/api/sessions/", "").split("/");
  return sessions[request.method](request, { params: Promise.resolve({ sessionId, path }) });
}

const server = createServer(async (incoming, outgoing) => {
  const chunks = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const { method } = incoming;
  const headers = new Headers(Object.entries(incoming.headers).filter(([name]) => !HOP_BY_HOP.has(name)));
  const body = chunks.length > 0 ? Buffer.concat(chunks) : undefined;
  const answer = await handle(new Request(`http://${incoming.headers.host}${incoming.url}`, { method, headers, body })).catch(
    (error) => new Response(String(error), { status: 500 }),
  );
  outgoing.writeHead(answer.status, Object.fromEntries(answer.headers));
  outgoing.end(Buffer.from(await answer.arrayBuffer()));
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
