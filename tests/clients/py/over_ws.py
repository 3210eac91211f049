"""The Ditto Protocol in Python over WebSocket, with the package `websockets`. Usage: python over_ws.py http://HOST:PORT"""

import asyncio
import base64
import json
import sys
from urllib.parse import quote

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

PATIENCE = 10


class Session:
    """One socket. Answers are told from events by their correlation id."""

    def __init__(self, socket):
        self.socket, self.kept = socket, []

    async def told(self, fits):
        """The first frame that fits; what came before it is kept for later."""
        for at, frame in enumerate(self.kept):
            if fits(frame):
                return self.kept.pop(at)
        while True:
            text = await asyncio.wait_for(self.socket.recv(), PATIENCE)
            frame = json.loads(text) if text.startswith("{") else text
            if fits(frame):
                return frame
            self.kept.append(frame)

    async def start(self, name, **parameters):
        query = "&".join(f"{key}={quote(value)}" for key, value in parameters.items())
        await self.socket.send(f"{name}?{query}" if query else name)
        await self.told(lambda frame: frame == f"{name}:ACK")

    async def ask(self, topic, path, correlation_id, value=None, **headers):
        envelope = {"topic": topic, "path": path, "headers": {"correlation-id": correlation_id, **headers}}
        if value is not None:
            envelope["value"] = value
        await self.socket.send(json.dumps(envelope))
        return await self.told(lambda f: isinstance(f, dict) and f["headers"].get("correlation-id") == correlation_id)

    async def event(self):
        return await self.told(lambda frame: isinstance(frame, dict) and "/events/" in frame["topic"])


def session(base, user="ditto", query=""):
    credentials = base64.b64encode(f"{user}:ditto".encode()).decode()
    headers = {"authorization": f"Basic {credentials}"}
    return connect(f"{base.replace('http', 'ws', 1)}/ws/2{query}", additional_headers=headers, proxy=None)


async def main(base):
    try:
        async with session(base, user="nobody"):
            raise AssertionError("a stranger got in")
    except InvalidStatus as refused:
        assert refused.response.status_code == 401, refused.response.status_code

    async with session(base) as one, session(base, query="?declared-acks=" + quote('["py:seen"]')) as other:
        writer, listener = Session(one), Session(other)
        commands = "clients.py/ws/things/twin/commands"
        await listener.start(
            "START-SEND-EVENTS", namespaces="clients.py", extraFields="attributes/room", filter="exists(thingId)"
        )

        thing = {"thingId": "clients.py:ws", "attributes": {"room": "hall", "n": 1}}
        created = await writer.ask(f"{commands}/create", "/", "c-1", thing)
        assert created["status"] == 201 and created["value"]["attributes"] == thing["attributes"], created
        event = await listener.event()
        assert event["topic"].endswith("events/created") and event["extra"] == {"attributes": {"room": "hall"}}, event

        merge = {"content-type": "application/merge-patch+json"}
        merged = await writer.ask(f"{commands}/merge", "/attributes", "c-2", {"n": 2, "old": None}, **merge)
        assert merged["status"] == 204, merged
        event = await listener.event()
        assert (event["path"], event["value"], event["revision"]) == ("/attributes", {"n": 2, "old": None}, 2), event

        refused = await writer.ask("clients.py/none/things/twin/commands/retrieve", "/", "c-3")
        assert refused["topic"].endswith("/errors") and refused["status"] == 404, refused
        found = await writer.ask(f"{commands}/retrieve", "/attributes/n", "c-4")
        assert (found["status"], found["value"]) == (200, 2), found

        acks = {"requested-acks": ["twin-persisted", "py:seen"], "timeout": "5s"}
        modify = asyncio.ensure_future(writer.ask(f"{commands}/modify", "/attributes/n", "c-5", 3, **acks))
        event = await listener.event()
        ack = {"topic": "clients.py/ws/things/twin/acks/py:seen", "path": "/", "status": 200, "value": "yes"}
        await other.send(json.dumps({**ack, "headers": {"correlation-id": event["headers"]["correlation-id"]}}))
        answered = await modify
        assert answered["status"] == 200 and answered["value"]["py:seen"]["payload"] == "yes", answered

        await listener.start("START-SEND-MESSAGES")
        message = "clients.py/ws/things/live/messages/ring"
        ring = asyncio.ensure_future(
            writer.ask(message, "/inbox/messages/ring", "c-6", "ding", **{"content-type": "text/plain"})
        )
        heard = await listener.told(lambda f: isinstance(f, dict) and f["topic"] == message)
        assert heard["value"] == "ding", heard
        headers = {"correlation-id": heard["headers"]["correlation-id"], "content-type": "text/plain"}
        await other.send(json.dumps({"topic": message, "path": heard["path"], "headers": headers, "value": "dong", "status": 200}))
        answer = await ring
        assert (answer["status"], answer["value"]) == (200, "dong"), answer

        await listener.start("STOP-SEND-EVENTS")
        deleted = await writer.ask(f"{commands}/delete", "/", "c-7")
        assert deleted["status"] == 204, deleted
        await listener.start("STOP-SEND-MESSAGES")
        assert not listener.kept, listener.kept
    print("all well")


asyncio.run(main(sys.argv[1]))
