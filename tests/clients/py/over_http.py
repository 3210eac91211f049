"""The Python client `ditto-client` over HTTP. Usage: python over_http.py http://HOST:PORT"""

import asyncio
import sys

from ditto_client import BasicAuthProvider
from ditto_client.generated.api.two.search.things.count.count_request_builder import CountRequestBuilder
from ditto_client.generated.api.two.search.things.things_request_builder import ThingsRequestBuilder
from ditto_client.generated.ditto_client import DittoClient
from ditto_client.generated.models.new_policy import NewPolicy
from ditto_client.generated.models.new_thing import NewThing
from ditto_client.generated.models.patch_thing import PatchThing
from kiota_abstractions.api_error import APIError
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_http.httpx_request_adapter import HttpxRequestAdapter

ID = "clients.py:lamp"
POLICY = "clients.py:people"
ALL = {"grant": ["READ", "WRITE"], "revoke": []}


async def main(base: str) -> None:
    adapter = HttpxRequestAdapter(BasicAuthProvider(user_name="ditto", password="ditto"))
    adapter.base_url = base
    api = DittoClient(adapter).api.two

    who = await api.whoami.get()
    assert who.default_subject == "nginx:ditto", who

    resources = {"thing:/": ALL, "policy:/": ALL, "message:/": ALL}
    entries = {"owner": {"subjects": {"nginx:ditto": {"type": "user"}}, "resources": resources}}
    await api.policies.by_policy_id(POLICY).put(body=NewPolicy(additional_data={"entries": entries}))
    policy = await api.policies.by_policy_id(POLICY).get()
    assert policy.policy_id == POLICY, policy

    body = {"policyId": POLICY, "attributes": {"room": "hall", "n": 1}, "features": {"light": {"properties": {"on": False}}}}
    thing = api.things.by_thing_id(ID)
    await thing.put(body=NewThing(additional_data=body))
    await thing.patch(body=PatchThing(additional_data={"attributes": {"n": 2}}))
    now = await thing.get()
    assert now.thing_id == ID and now.policy_id == POLICY, now
    assert now.attributes.additional_data == {"room": "hall", "n": 2}, now.attributes

    before = RequestConfiguration()
    before.headers.add("at-historical-revision", "1")
    past = await thing.get(request_configuration=before)
    assert past.attributes.additional_data["n"] == 1, past.attributes

    filtered = ThingsRequestBuilder.ThingsRequestBuilderGetQueryParameters(filter='eq(attributes/room,"hall")')
    found = await api.search.things.get(request_configuration=RequestConfiguration(query_parameters=filtered))
    assert [item.thing_id for item in found.items] == [ID], found
    filtered = CountRequestBuilder.CountRequestBuilderGetQueryParameters(filter="gt(attributes/n,2)")
    count = await api.search.things.count.get(request_configuration=RequestConfiguration(query_parameters=filtered))
    assert count == 0, count

    await thing.delete()
    try:
        await thing.get()
        raise AssertionError("a deleted thing was found")
    except APIError as error:
        assert error.response_status_code == 404, error
    print("all well")


asyncio.run(main(sys.argv[1]))
