import { boundedText, isSessionId, withSession } from "cordboard/next";

import { BODY_BYTES, askEdge } from "../../../../edge";

type Context = { params: Promise<{ sessionId: string; path: string[] }> };

// Nothing else is passed on: this server's key may permit more than the page may do.
const PATHS = ["api/offer", "events", "ice"];

const pass = withSession(async (request: Request, { params }: Context) => {
  const { sessionId, path } = await params;
  const target = path.join("/");
  if (!isSessionId(sessionId) || !PATHS.includes(target)) return new Response("Not found.", { status: 404 });
  const body = await boundedText(request, BODY_BYTES);
  if (body === null) return new Response("The body is too long.", { status: 413 });
  return await askEdge(`/sessions/${sessionId}/${target}`, request.method, request.method === "GET" ? undefined : body);
});

export { pass as GET, pass as PATCH, pass as POST };
