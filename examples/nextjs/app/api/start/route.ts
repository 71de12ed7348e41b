import { getLogger, withSession } from "cordboard/next";

import { askEdge } from "../../edge";

const log = getLogger("start");

export const POST = withSession(async (request: Request) => {
  log.info("A bot is requested");
  const answer = await askEdge("/start", "POST", await request.text());
  log.info("The edge has answered", { status: answer.status });
  return answer;
});
