// start.mjs runs an SQS server for tests on 127.0.0.1, on a free port. It prints its
// endpoint as the first line on stdout and ends when its stdin closes.
import net from "node:net";

// fauxqs listens on every interface and cannot be told otherwise: tell the runtime.
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (options, ...rest) {
  if (options !== null && typeof options === "object" && options.host === "0.0.0.0") {
    options = { ...options, host: "127.0.0.1" };
  }
  return listen.call(this, options, ...rest);
};

// fauxqs moves messages whose delay or visibility timeout is over only when somebody
// receives, and so counts them as delayed or in flight for as long as nobody does. SQS
// counts them as visible.
const { SqsQueue } = await import(new URL("node_modules/fauxqs/dist/sqs/sqsStore.js", import.meta.url));
const getAllAttributes = SqsQueue.prototype.getAllAttributes;
SqsQueue.prototype.getAllAttributes = function (requested) {
  this.processTimers();
  return getAllAttributes.call(this, requested);
};

const { startFauxqs } = await import("fauxqs");
const server = await startFauxqs({ port: 0, logger: false });
console.log(`http://127.0.0.1:${server.port}`);
process.stdin.resume().on("end", async () => {
  await server.stop();
  process.exit(0);
});
