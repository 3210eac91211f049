// Ditto's own JavaScript client over HTTP. Usage: node over_http.mjs HOST:PORT MODULES
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const [domain, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const ditto = require('@eclipse-ditto/ditto-javascript-client-node');

const client = ditto.DittoNodeClient.newHttpClient()
  .withoutTls()
  .withDomain(domain)
  .withAuthProvider(ditto.NodeHttpBasicAuth.newInstance('ditto', 'ditto'))
  .build();
const refused = async (status, error, call) => {
  await assert.rejects(call, (answer) => {
    const body = typeof answer.body === 'string' ? JSON.parse(answer.body) : answer.body ?? answer;
    assert.equal(body.status, status);
    assert.equal(body.error, error);
    return true;
  });
};

const id = 'clients.js:lamp';
const things = client.getThingsHandle();
const created = await things.putThing(
  ditto.Thing.fromObject({ thingId: id, attributes: { room: 'hall', n: 1 }, features: { light: { properties: { on: false } } } }),
);
assert.equal(created.status, 201);
await things.putAttribute(id, 'room', 'kitchen');
assert.equal(await things.getAttribute(id, 'room'), 'kitchen');
await things.patchAttributes(id, { n: 2, extra: { a: [1, 2] } });
await things.deleteAttribute(id, 'extra');
assert.deepEqual(await things.getAttributes(id), { room: 'kitchen', n: 2 });
assert.equal(await things.getPolicyId(id), id);
const part = await things.getThing(id, ditto.DefaultFieldsOptions.getInstance().withFields('thingId', 'attributes/n'));
assert.equal(part.thingId, id);
assert.deepEqual(part.attributes, { n: 2 });
assert.deepEqual((await things.getThings([id, 'clients.js:none'])).map((thing) => thing.thingId), [id]);
await refused(404, 'things:thing.notfound', () => things.getThing('clients.js:none'));
await refused(412, 'things:precondition.failed', () =>
  things.putAttribute(id, 'n', 3, ditto.DefaultMatchOptions.getInstance().ifMatch('"rev:0"')));

const features = client.getFeaturesHandle(id);
await features.putProperty('light', 'on', true);
assert.equal(await features.getProperty('light', 'on'), true);
await features.putDefinition('light', ['org.acme:light:1.0.0']);
assert.deepEqual(await features.getDefinition('light'), ['org.acme:light:1.0.0']);
await features.deleteProperty('light', 'on');

const policies = client.getPoliciesHandle();
const policy = await policies.getPolicy(id);
assert.equal(policy.id ?? policy.policyId, id);
await policies.putSubject(id, 'DEFAULT', ditto.Subject.fromObject({ type: 'guest' }, 'nginx:guest'));
assert.deepEqual(Object.keys(await policies.getSubjects(id, 'DEFAULT')).sort(), ['nginx:ditto', 'nginx:guest']);
await policies.deleteSubject(id, 'DEFAULT', 'nginx:guest');

const search = client.getSearchHandle();
const found = await search.search(
  ditto.DefaultSearchOptions.getInstance().withFilter(ditto.Eq('attributes/room', 'kitchen')).withSort('+thingId').withLimit(0, 5),
);
assert.deepEqual(found.items.map((thing) => thing.thingId), [id]);
assert.equal(await search.count(ditto.DefaultCountOptions.getInstance().withFilter(ditto.Gt('attributes/n', 1))), 1);
assert.equal(await search.postCount(ditto.DefaultCountOptions.getInstance().withRawFilter('gt(attributes/n,2)')), 0);

await client.getMessagesHandle().messageToThing(id, 'blink', '{"times":3}', 'application/json', ditto.DefaultMessagesOptions.getInstance().withTimeout(0));
await things.deleteThing(id);
await refused(404, 'things:thing.notfound', () => things.getThing(id));
console.log('all well');
