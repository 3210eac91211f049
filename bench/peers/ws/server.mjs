// Events of Ditto to every client, with `ws`: node server.mjs PORT UPSTREAM MODULES
import { createRequire } from "node:module";

const [port, upstream, modules] = process.argv.slice(2);
const { WebSocket, WebSocketServer } = createRequire(`${modules}/`)("ws");
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), perMessageDeflate: false });
const ditto = new WebSocket(upstream, { perMessageDeflate: false });

ditto.on("open", () => ditto.send("START-SEND-EVENTS"));
ditto.on("message", (data) => {
  const text = data.toString();
  if (!text.startsWith("{")) return;
  const event = JSON.parse(text);
  const [namespace, name, , , , action] = event.topic.split("/");
  // Made once for all who hear it.
  const told = Buffer.from(JSON.stringify({
    type: `thing.${action}`,
    thing_id: `${namespace}:${name}`,
    path: event.path,
    value: event.value,
    revision: event.revision,
    timestamp: event.timestamp,
  }));
  for (const client of server.clients) {
    if (client.readyState === WebSocket.OPEN) client.send(told, { binary: false });
  }
});
server.on("listening", () => console.log(`http://127.0.0.1:${server.address().port}`));
