// The API of the hello example on the pod's loopback: reads {port, certPem, keyPem, secret} as one JSON line, prints each request.
import { createServer } from "node:https";
import { json } from "node:stream/consumers";

const { port, certPem, keyPem, secret } = (await json(process.stdin)) as {
  port: number;
  certPem: string;
  keyPem: string;
  secret: string;
};
const server = createServer({ cert: certPem, key: keyPem }, (request, response) => {
  const { authorization } = request.headers;
  const authorized = authorization === `Bearer ${secret}`;
  process.stdout.write(`${JSON.stringify({ target: request.url, authorized })}\n`);
  const name = new URL(request.url ?? "/", "https://x").searchParams.get("name");
  response.writeHead(authorized ? 200 : 401, { "content-type": "application/json" });
  // It shows what it was sent, as a careless service does: the boundary masks the secret on the way back.
  response.end(JSON.stringify({ greeting: `Hello, ${name}!`, authorization }));
});
server.listen(port, "127.0.0.1", () => process.stdout.write("ready\n"));
