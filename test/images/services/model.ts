// The scripted model on the pod's loopback: reads {port, key} as one JSON line, prints each request.
import { json } from "node:stream/consumers";
import { openFakeModel } from "../../helpers/fake-model.ts";

const { port, key } = (await json(process.stdin)) as { port: number; key: string };
const model = await openFakeModel(key, port);
process.stdout.write("ready\n");
let told = 0;
setInterval(() => {
  for (const request of model.requests.slice(told))
    process.stdout.write(`${JSON.stringify({ path: request.path, key: request.key })}\n`);
  told = model.requests.length;
}, 100);
