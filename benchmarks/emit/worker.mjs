// One logger, one run: writes N lines to stdout and its figures, as JSON, to stderr.
// Usage: worker.mjs pino_child|pino_als lines|tasks N
import { AsyncLocalStorage } from "node:async_hooks";
import { pino } from "pino";

const [kind, mode, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const session = { session_id: "call-7", user_id: "u-1", user_name: "Ada" };
const destination = pino.destination({ fd: 1, sync: true });
const storage = new AsyncLocalStorage();
const root = pino({ base: null, mixin: kind === "pino_als" ? () => storage.getStore() : undefined }, destination);
const log = kind === "pino_child" ? root.child(session) : root;
const say = (i) => log.info({ meta: { attempt: i, reused: false, runner: "runner-1", ms: 12.5 } }, "Join accepted");

function perLine() {
  for (let i = 0; i < count / 10; i++) say(i);
  const began = process.hrtime.bigint();
  const used = process.cpuUsage();
  for (let i = 0; i < count; i++) say(i);
  const { user, system } = process.cpuUsage(used);
  return [Number(process.hrtime.bigint() - began) / count / 1000, (user + system) / count];
}

async function fourTasks() {
  const took = [];
  const task = async () => {
    for (let i = 0; i < count / 4; i++) {
      const began = process.hrtime.bigint();
      say(i);
      took.push(Number(process.hrtime.bigint() - began));
      await new Promise(setImmediate);
    }
  };
  await Promise.all([task(), task(), task(), task()]);
  took.sort((a, b) => a - b);
  return [0.5, 0.99, 0.999].map((share) => took[Math.floor(took.length * share)] / 1000);
}

await storage.run(session, async () => {
  const figures = mode === "tasks" ? await fourTasks() : perLine();
  process.stderr.write(JSON.stringify(figures) + "\n");
});
