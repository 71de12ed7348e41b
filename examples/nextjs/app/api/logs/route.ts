import { logRoute } from "cordboard/next";

// It takes lines from the page that made their session id. Where your application makes the ids, pass mayWrite; where it
// has a login, pass its user: logRoute({ user: (request) => ... }).
export const POST = logRoute();
