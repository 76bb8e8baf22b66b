#!/opt/tool/node
// The tool's whole program. It sends no Authorization header and knows no secret; a proxy and a certificate authority are
// in its environment, as any HTTP client expects them. `start` puts a Node beside this file, so that it needs nothing of
// the machine it runs on.
const [name] = process.argv.slice(2);
const response = await fetch(
  `${process.env.HELLO_API}/v1/greeting?name=${encodeURIComponent(name)}`,
);
const body = await response.text();
if (!response.ok) {
  console.error(`The greeting service answered ${response.status}: ${body}`);
  process.exit(1);
}
const { greeting, authorization } = JSON.parse(body);
console.log(greeting);
console.log(`(the service shows the tool what it was sent: authorization: ${authorization})`);
