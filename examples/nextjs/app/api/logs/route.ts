import { logRoute } from "cordboard/next";

// An application with a login passes its user: logRoute({ user: (request) => ... }).
export const POST = logRoute();
