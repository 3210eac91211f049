// Ditto's own JavaScript client over WebSocket. Usage: node over_ws.mjs HOST:PORT MODULES
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const [domain, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const ditto = require('@eclipse-ditto/ditto-javascript-client-node');

const connect = () =>
  ditto.DittoNodeClient.newWebSocketClient()
    .withoutTls()
    .withDomain(domain)
    .withAuthProvider(ditto.NodeWebSocketBasicAuth.newInstance('ditto', 'ditto'))
    .withBuffer(100)
    .twinChannel()
    .build();

const id = 'clients.js:ws';
const writer = connect();
const listener = connect();

const heard = [];
let told;
const enough = new Promise((resolve) => (told = resolve));
const events = listener.getEventsHandle();
await events.requestEvents();
events.subscribeToAllEvents((event) => {
  heard.push(event);
  if (heard.length === 4) told();
});

const things = writer.getThingsHandle();
const created = await things.putThing(
  ditto.Thing.fromObject({ thingId: id, attributes: { n: 1 }, features: { light: { properties: { on: false } } } }),
);
assert.equal(created.status, 201);
await things.putAttribute(id, 'n', 2);
assert.equal(await things.getAttribute(id, 'n'), 2);
await writer.getFeaturesHandle(id).putProperty('light', 'on', true);
assert.equal((await things.getThing(id)).features.light.properties.on, true);
await assert.rejects(things.getThing('clients.js:none'), (answer) => {
  assert.equal((answer.body ?? answer).status ?? answer.status, 404);
  return true;
});
await things.deleteThing(id);

await Promise.race([enough, new Promise((_, late) => setTimeout(() => late(new Error(`heard ${heard.length}`)), 10000))]);
assert.deepEqual(heard.map((event) => event.action), ['created', 'modified', 'modified', 'deleted']);
assert.deepEqual(heard.map((event) => event.path), ['/', '/attributes/n', '/features/light/properties/on', '/']);
assert.equal(heard[1].value, 2);
await events.stopEvents();
console.log('all well');
process.exit(0);
