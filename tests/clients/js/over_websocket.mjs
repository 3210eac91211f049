// Ditto's own JavaScript client over its WebSocket. Usage: node over_websocket.mjs HOST:PORT MODULES
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const [domain, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const ditto = require('@eclipse-ditto/ditto-javascript-client-node');

const http = ditto.DittoNodeClient.newHttpClient()
  .withoutTls()
  .withDomain(domain)
  .withAuthProvider(ditto.NodeHttpBasicAuth.newInstance('ditto', 'ditto'))
  .build();
const socket = () =>
  ditto.DittoNodeClient.newWebSocketClient()
    .withoutTls()
    .withDomain(domain)
    .withAuthProvider(ditto.NodeWebSocketBasicAuth.newInstance('ditto', 'ditto'))
    .withBuffer(10)
    .twinChannel()
    .build();
// nothing here takes seconds; a promise that never settles must not hang the test
const patience = setTimeout(() => {
  console.error('waited in vain');
  process.exit(1);
}, 30_000);

const id = 'clients.ws:lamp';
const client = socket();
const things = client.getThingsHandle();
const created = await things.createThing(ditto.Thing.fromObject({ thingId: id, attributes: { n: 1 }, features: { light: { properties: { on: false } } } }));
assert.equal(created.status, 201);
await things.putAttribute(id, 'n', 2);
assert.equal(await things.getAttribute(id, 'n'), 2);
assert.equal((await things.getThing(id)).policyId, id);
await assert.rejects(() => things.getThing('clients.ws:none'), (error) => {
  const body = error.body ?? error;
  assert.equal(body.status, 404);
  assert.equal(body.error, 'things:thing.notfound');
  return true;
});

const events = client.getEventsHandle();
await events.requestEvents();
const heard = new Promise((resolve) => events.subscribeToAttribute(id, 'n', resolve));
await things.putAttribute(id, 'n', 3); // what a session does itself it does not hear of
await http.getThingsHandle().putAttribute(id, 'n', 4);
const event = await heard;
assert.equal(event.value, 4);
assert.equal(event.path, '/attributes/n');
await events.stopEvents();

await things.deleteThing(id);
client.close();
clearTimeout(patience);
console.log('all well');
process.exit(0);
