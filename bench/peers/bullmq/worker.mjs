// node worker.mjs PORT DB CONCURRENCY: a worker whose jobs run in processes of their own.
import { fileURLToPath } from "node:url";
import { Worker } from "bullmq";

const [port, db, concurrency] = process.argv.slice(2).map(Number);
const processor = fileURLToPath(new URL("noop.cjs", import.meta.url));
const worker = new Worker("bench", processor, { connection: { host: "127.0.0.1", port, db }, concurrency });
worker.on("error", (err) => console.error(err));
process.on("SIGTERM", async () => {
  await worker.close();
  process.exit(0);
});
