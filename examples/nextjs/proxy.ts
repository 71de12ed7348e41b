import { sessionMiddleware } from "cordboard/next/middleware";
import type { NextRequest } from "next/server";

export function proxy(request: NextRequest) {
  return sessionMiddleware(request);
}

export const config = { matcher: "/api/:path*" };
