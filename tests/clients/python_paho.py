"""Scenarios with Eclipse Paho's Python client: python_paho.py HOST PORT LEVEL SCENARIO.

LEVEL is the protocol level (3, 4 or 5). A scenario ends with exit code 0, or with the assertion that failed.
"""

import queue
import sys
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

WAIT = 10
HOST, PORT, LEVEL = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Device:
    """A client whose events can be waited for."""

    def __init__(self, name, clean=True, expiry=0, will=None):
        self.events = {kind: queue.Queue() for kind in ("connect", "subscribe", "publish", "message", "disconnect")}
        options = {"protocol": LEVEL}
        if LEVEL < 5:
            options["clean_session"] = clean
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, **options)
        self.client.on_connect = lambda c, u, flags, reason, p: self.put("connect", (flags, reason, p))
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.put("subscribe", (mid, reasons))
        self.client.on_publish = lambda c, u, mid, reason, p: self.put("publish", (mid, reason))
        self.client.on_message = lambda c, u, message: self.put("message", message)
        self.client.on_disconnect = lambda c, u, flags, reason, p: self.put("disconnect", reason)
        if will:
            self.client.will_set(*will)
        extra = {}
        if LEVEL == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry
            extra = {"clean_start": clean, "properties": properties}
        self.client.connect(HOST, PORT, keepalive=30, **extra)
        self.client.loop_start()
        self.flags, reason, self.properties = self.get("connect")
        assert reason == 0, reason

    def put(self, kind, value):
        self.events[kind].put(value)

    def get(self, kind, wait=WAIT):
        return self.events[kind].get(timeout=wait)

    def subscribe(self, *args, **kwargs):
        _, mid = self.client.subscribe(*args, **kwargs)
        answered, reasons = self.get("subscribe")
        assert answered == mid
        assert all(not reason.is_failure for reason in reasons), reasons

    def publish(self, *args, **kwargs):
        info = self.client.publish(*args, **kwargs)
        info.wait_for_publish(WAIT)
        assert info.is_published()

    def leave(self):
        self.client.disconnect()
        self.get("disconnect")
        self.client.loop_stop()

    def vanish(self):
        """Closes the socket without DISCONNECT."""
        self.client.on_disconnect = None
        self.client.loop_stop()
        self.client._sock_close()


def name():
    return "paho" + uuid.uuid4().hex[:16]


def qos():
    topic = f"paho/{name()}/qos"
    subscriber, publisher = Device(name()), Device(name())
    subscriber.subscribe(topic, 2)
    for level in (0, 1, 2):
        publisher.publish(topic, f"at {level}", level)
        message = subscriber.get("message")
        assert (message.topic, message.payload, message.qos) == (topic, f"at {level}".encode(), level), message
        assert not message.retain and not message.dup
    for count in range(300):
        publisher.client.publish(topic, str(count), 1 + count % 2)
    seen = [subscriber.get("message") for _ in range(300)]
    for level in (1, 2):
        counts = [int(message.payload) for message in seen if message.qos == level]
        assert counts == sorted(set(counts)) and len(counts) == 150, counts
    subscriber.leave()
    publisher.leave()


def retained():
    topic = f"paho/{name()}/retained"
    publisher, subscriber = Device(name()), Device(name())
    publisher.publish(topic, "kept", 1, True)
    subscriber.subscribe(topic, 1)
    message = subscriber.get("message")
    assert message.retain and message.payload == b"kept"
    publisher.publish(topic, "live", 1)
    assert not subscriber.get("message").retain
    publisher.publish(topic, "", 1, True)
    assert subscriber.get("message").payload == b""
    late = Device(name())
    late.subscribe(topic, 1)
    publisher.publish(topic, "after", 1)
    assert late.get("message").payload == b"after"
    for device in (late, publisher, subscriber):
        device.leave()


def will():
    topic = f"paho/{name()}/will"
    watcher = Device(name())
    watcher.subscribe(topic, 2)
    orderly = Device(name(), will=(topic, "never", 1))
    orderly.leave()
    Device(name(), will=(topic, "gone", 2)).vanish()
    message = watcher.get("message")
    assert (message.payload, message.qos) == (b"gone", 2), message.payload
    watcher.leave()


def durable():
    topic, who = f"paho/{name()}/durable", name()
    away = Device(who, clean=False, expiry=300)
    assert not away.flags.session_present
    away.subscribe(topic, 2)
    away.leave()
    publisher = Device(name())
    for count in range(20):
        publisher.publish(topic, str(count), 1 + count % 2)
    back = Device(who, clean=False, expiry=300)
    assert back.flags.session_present
    seen = sorted(int(back.get("message").payload) for _ in range(20))
    assert seen == list(range(20)), seen
    back.leave()
    Device(who, clean=True).leave()
    publisher.leave()


def shared():
    group, topic = name(), f"paho/{name()}/shared"
    members = [Device(name()) for _ in range(3)]
    for member in members:
        member.subscribe(f"$share/{group}/{topic}", 1)
    publisher = Device(name())
    for count in range(90):
        publisher.publish(topic, str(count), 1)
    seen, got = [], [0] * len(members)
    while len(seen) < 90:
        for at, member in enumerate(members):
            try:
                seen.append(int(member.get("message", 0.05).payload))
                got[at] += 1
            except queue.Empty:
                pass
    assert sorted(seen) == list(range(90)), seen
    assert all(got), got
    for device in (*members, publisher):
        device.leave()


def properties():
    topic = f"paho/{name()}/properties"
    subscriber, publisher = Device(name()), Device(name())
    options = Properties(PacketTypes.SUBSCRIBE)
    options.SubscriptionIdentifier = 4711
    subscriber.subscribe(topic, options=SubscribeOptions(qos=1), properties=options)
    sent = Properties(PacketTypes.PUBLISH)
    sent.UserProperty = [("b", "1"), ("a", "2"), ("b", "1")]
    sent.ContentType = "text/plain"
    sent.CorrelationData = b"\x00\x01\xff"
    sent.ResponseTopic = "answers/here"
    sent.MessageExpiryInterval = 100
    sent.PayloadFormatIndicator = 1
    publisher.publish(topic, "hello", 1, properties=sent)
    got = subscriber.get("message").properties
    assert got.UserProperty == [("b", "1"), ("a", "2"), ("b", "1")], got.UserProperty
    assert (got.ContentType, got.CorrelationData) == ("text/plain", b"\x00\x01\xff")
    assert (got.ResponseTopic, got.PayloadFormatIndicator) == ("answers/here", 1)
    assert 95 <= got.MessageExpiryInterval <= 100, got.MessageExpiryInterval
    assert got.SubscriptionIdentifier == [4711], got.SubscriptionIdentifier
    alias = Properties(PacketTypes.PUBLISH)
    alias.TopicAlias = 1
    assert publisher.properties.TopicAliasMaximum >= 1
    publisher.publish(topic, "named", 1, properties=alias)
    publisher.publish("", "by alias", 1, properties=alias)
    for text in (b"named", b"by alias"):
        message = subscriber.get("message")
        assert (message.topic, message.payload) == (topic, text), (message.topic, message.payload)
    subscriber.leave()
    publisher.leave()


{"qos": qos, "retained": retained, "will": will, "durable": durable, "shared": shared, "properties": properties}[
    sys.argv[4]
]()
