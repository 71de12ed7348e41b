import { configure } from "cordboard/next";

import { EDGE } from "./app/edge";

export function register() {
  configure({ service: "web", hosts: [EDGE.host] });
}
