import { withSession } from "cordboard/next";

import { askEdge } from "../../../../edge";

type Context = { params: Promise<{ sessionId: string; path: string[] }> };

const pass = withSession(async (request: Request, { params }: Context) => {
  const { sessionId, path } = await params;
  const body = request.method === "GET" ? undefined : await request.text();
  return await askEdge(`/sessions/${sessionId}/${path.join("/")}`, request.method, body);
});

export { pass as GET, pass as PATCH, pass as POST };
