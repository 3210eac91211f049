"""A device in Python, with the package `paho-mqtt`, in both versions of MQTT. Usage: python over_mqtt.py PORT DITTO THING"""

import json
import sys
import time
from urllib.request import Request, urlopen

import paho.mqtt.client as mqtt

PATIENCE = 20
port, ditto, thing = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def call(method, path, value=None):
    body = None if value is None else json.dumps(value).encode()
    headers = {"x-ditto-pre-authenticated": "nginx:ditto", "content-type": "application/json"}
    with urlopen(Request(f"{ditto}/api/2/things/{thing}{path}", body, headers, method=method)) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def until(what, look):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if look():
            return
        time.sleep(0.05)
    raise SystemExit(f"waited in vain for {what}")


def device(version, name):
    heard = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=version)
    client.on_message = lambda _client, _data, message: heard.append(message)
    client.connect("127.0.0.1", port)
    client.loop_start()
    granted = []
    client.on_subscribe = lambda _client, _data, _id, codes, _properties: granted.extend(codes)
    client.subscribe(f"devices/{thing}/commands", qos=1)
    until("the subscription", lambda: granted)
    return client, heard


for number, version in enumerate([mqtt.MQTTv311, mqtt.MQTTv5]):
    client, heard = device(version, f"paho-{number}")
    for qos in (0, 1, 2):
        value = number * 100 + qos
        client.publish(f"devices/{thing}/telemetry", json.dumps({"temperature": value}), qos=qos).wait_for_publish(PATIENCE)
        until(f"{value}", lambda: call("GET", "/features/temperature/properties/value") == value)
    # Many at once: the last one stays.
    for value in range(2_000):
        info = client.publish(f"devices/{thing}/telemetry", json.dumps({"burst": value}), qos=1)
    info.wait_for_publish(PATIENCE)
    until("the last of many", lambda: call("GET", "/features/burst/properties/value") == 1_999)
    call("PUT", "/features/burst/properties/value", -1)

    client.publish(f"devices/{thing}/commands/get", qos=1)
    until("the desired properties", lambda: any(json.loads(m.payload)["type"] == "desired" for m in heard))
    call("PUT", "/features/temperature/desiredProperties/round", number)
    until(
        "the change",
        lambda: any(json.loads(m.payload).get("value", {}).get("temperature", {}).get("round") == number for m in heard),
    )
    client.disconnect()
    client.loop_stop()

print("all well")
