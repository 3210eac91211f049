"""The routes of the facade that are measured, as a FastAPI application writes them: uvicorn app:app."""
import asyncio
import contextlib
import json
import os
import urllib.parse

import httpx
import websockets
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

DITTO = os.environ["DITTO_API_URL"]
DITTO_WS = os.environ["DITTO_WS_URL"]
LOGIN = {"x-ditto-pre-authenticated": "nginx:ditto"}
FIELDS = "thingId,policyId,definition,attributes,features,_revision,_created,_modified"
NAMES = {"thingId": "thing_id", "policyId": "policy_id", "_revision": "revision", "_created": "created",
         "_modified": "modified"}
listeners: set[WebSocket] = set()


def shown(thing: dict) -> dict:
    thing = {NAMES.get(name, name): value for name, value in thing.items()}
    for feature in thing.get("features", {}).values():
        if "desiredProperties" in feature:
            feature["desired_properties"] = feature.pop("desiredProperties")
    return thing


async def follow() -> None:
    async with websockets.connect(DITTO_WS, additional_headers=LOGIN, compression=None) as ditto:
        await ditto.send("START-SEND-EVENTS")
        async for text in ditto:
            if not text.startswith("{"):
                continue
            event = json.loads(text)
            namespace, name, *_, action = event["topic"].split("/")
            told = json.dumps({
                "type": f"thing.{action}", "thing_id": f"{namespace}:{name}", "path": event["path"],
                "value": event["value"], "revision": event["revision"], "timestamp": event["timestamp"],
            })
            for listener in list(listeners):
                try:
                    await listener.send_text(told)
                except (WebSocketDisconnect, RuntimeError):
                    listeners.discard(listener)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI):
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    app.state.ditto = httpx.AsyncClient(base_url=DITTO, headers=LOGIN, limits=limits)
    following = asyncio.create_task(follow()) if os.environ.get("FOLLOW") else None
    yield
    if following:
        following.cancel()
    await app.state.ditto.aclose()


app = FastAPI(lifespan=lifespan)


def segment(text: str) -> str:
    return urllib.parse.quote(text, safe=":")


@app.get("/things/{thing_id}")
async def read(request: Request, thing_id: str):
    answer = await request.app.state.ditto.get(f"/api/2/things/{segment(thing_id)}", params={"fields": FIELDS})
    return JSONResponse(shown(answer.json()), answer.status_code)


@app.get("/search/things")
async def search(request: Request, limit: int = 25):
    params = {"option": f"size({limit})", "fields": FIELDS}
    answer = await request.app.state.ditto.get("/api/2/search/things", params=params)
    return JSONResponse({"items": [shown(thing) for thing in answer.json()["items"]]}, answer.status_code)


@app.put("/things/{thing_id}/features/{feature_id}")
async def replace(request: Request, thing_id: str, feature_id: str):
    feature = await request.json()
    path = f"/api/2/things/{segment(thing_id)}/features/{segment(feature_id)}/properties"
    answer = await request.app.state.ditto.put(path, json=feature["properties"])
    return Response(status_code=answer.status_code)


@app.websocket("/ws/events")
async def events(socket: WebSocket):
    await socket.accept()
    listeners.add(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        listeners.discard(socket)
