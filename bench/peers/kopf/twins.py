"""A DigitalTwin operator as one writes it with kopf: the peer of `bench/run operator`.

The same custom resource and the same calls as `twinops operator` makes for a new twin: the finalizer
(kopf's own), a PUT of the thing that replaces none, the status. No policies, no adoption, no three-way removal.

    twins.py KUBECONFIG DITTO_URL POLICY
"""

import datetime
import os
import sys
import urllib.parse

kubeconfig, ditto, policy = sys.argv[1:4]
os.environ["KUBECONFIG"] = kubeconfig

import aiohttp  # noqa: E402
import kopf  # noqa: E402
import uvloop  # noqa: E402

KIND = ("twinops.dev", "v1alpha1", "digitaltwins")
HEADERS = {"x-ditto-pre-authenticated": "nginx:ditto"}


@kopf.on.startup()
async def startup(settings: kopf.OperatorSettings, memo: kopf.Memo, **_):
    # As many passes as the others, and no Kubernetes Event for each twin.
    settings.execution.max_workers = 64
    settings.posting.enabled = False
    settings.persistence.finalizer = "bench.twinops.dev/ditto"
    memo.http = aiohttp.ClientSession(ditto, headers=HEADERS, connector=aiohttp.TCPConnector(limit=64))


@kopf.on.cleanup()
async def cleanup(memo: kopf.Memo, **_):
    await memo.http.close()


def path(spec) -> str:
    return "/api/2/things/" + urllib.parse.quote(spec["thingId"], safe=":")


@kopf.on.create(*KIND)
@kopf.on.update(*KIND, field="spec")
async def reconcile(spec, meta, patch: kopf.Patch, memo: kopf.Memo, **_):
    body = {"policyId": policy, "attributes": dict(spec.get("attributes", {})), "features": dict(spec.get("features", {}))}
    async with memo.http.put(path(spec), json=body, headers={"if-none-match": "*"}) as answer:
        if answer.status >= 400 and answer.status != 412:
            raise kopf.TemporaryError(f"PUT: {answer.status}", delay=1)
        await answer.read()
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    patch.status["thingId"] = spec["thingId"]
    patch.status["observedGeneration"] = meta["generation"]
    patch.status["conditions"] = [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Applied",
            "message": "",
            "observedGeneration": meta["generation"],
            "lastTransitionTime": now,
        }
    ]


@kopf.on.delete(*KIND)
async def delete(spec, memo: kopf.Memo, **_):
    async with memo.http.delete(path(spec)) as answer:
        if answer.status >= 400 and answer.status != 404:
            raise kopf.TemporaryError(f"DELETE: {answer.status}", delay=1)


uvloop.run(kopf.operator(clusterwide=True))
