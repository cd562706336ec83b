// node push.mjs PORT DB N: adds N jobs that do nothing.
import { Queue } from "bullmq";

const [port, db, n] = process.argv.slice(2).map(Number);
const queue = new Queue("bench", { connection: { host: "127.0.0.1", port, db } });
for (let left = n; left > 0; left -= 1000) {
  await queue.addBulk(Array.from({ length: Math.min(left, 1000) }, () => ({ name: "noop", data: {} })));
}
await queue.close();
