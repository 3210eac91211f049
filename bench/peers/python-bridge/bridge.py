"""The bridge that people write: paho-mqtt and httpx, a PATCH for each message, acknowledged after it.

Usage: python bridge.py PORT DITTO QOS. Prints "ready", and the number of written messages when its input ends.
"""

import json
import sys
import threading

import httpx
import paho.mqtt.client as mqtt

port, ditto, qos = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
http = httpx.Client(
    headers={"x-ditto-pre-authenticated": "nginx:ditto", "content-type": "application/merge-patch+json"},
)
written = 0


def on_message(client, _data, message):
    global written
    thing = message.topic.split("/")[1]
    said = json.loads(message.payload)
    patch = {name: {"properties": value if isinstance(value, dict) else {"value": value}} for name, value in said.items()}
    # No base URL: `org.example:` of an id would pass for a scheme.
    http.patch(f"{ditto}/api/2/things/{thing}/features", content=json.dumps(patch)).raise_for_status()
    written += 1
    if message.qos:
        client.ack(message.mid, message.qos)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="python-bridge", manual_ack=True)
client.on_message = on_message
ready = threading.Event()
client.on_subscribe = lambda *_: ready.set()
client.connect("127.0.0.1", port)
client.loop_start()
client.subscribe("devices/+/telemetry", qos=qos)
ready.wait(10)
print("ready", flush=True)
sys.stdin.read()
client.loop_stop()
print(written, flush=True)
