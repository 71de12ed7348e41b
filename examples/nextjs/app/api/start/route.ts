import { boundedText, getLogger, withSession } from "cordboard/next";

import { BODY_BYTES, askEdge } from "../../edge";

const log = getLogger("start");

export const POST = withSession(async (request: Request) => {
  const body = await boundedText(request, BODY_BYTES);
  if (body === null) return new Response("The body is too long.", { status: 413 });
  log.info("A bot is requested");
  const answer = await askEdge("/start", "POST", body);
  log.info("The edge has answered", { status: answer.status });
  return answer;
});
