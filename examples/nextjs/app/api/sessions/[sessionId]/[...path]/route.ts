import { withSession } from "cordboard/next";

import { askEdge } from "../../../../edge";

type Context = { params: Promise<{ sessionId: string; path: string[] }> };

const pass = withSession(async (request: Request, { params }: Context) => {
  const { sessionId, path } = await params;
  return await askEdge(`/sessions/${sessionId}/${path.join("/")}`, request.method, await request.text());
});

export { pass as PATCH, pass as POST };
