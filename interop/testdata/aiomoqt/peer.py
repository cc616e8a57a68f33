"""Publishes or subscribes to a track with aiomoqt, for TestAiomoqt.

peer.py publish URL DRAFT CERTIFICATES NAMESPACE TRACK    a group every 50 ms until stdin ends
peer.py subscribe URL DRAFT CERTIFICATES NAMESPACE TRACK  a line of JSON for each group, until stdin ends

CERTIFICATES is a file of those that are trusted (PEM). The fields of NAMESPACE are separated by slashes.
"""

import asyncio
import hashlib
import json
import sys

from aiomoqt.client import MOQTClient
from aiomoqt.track import PublishedTrack, SubscribedTrack
from aiomoqt.types import MOQTRequestError, ObjectStatus
from aiomoqt.utils.url import parse_relay_url

FRAMES = 5


def payload(group: int, frame: int) -> bytes:
    return hashlib.sha256(b"%d/%d" % (group, frame)).digest() * (1000 + frame)


class Frames(PublishedTrack):
    async def produce(self, out) -> None:
        for group in range(1 << 30):
            for i in range(FRAMES):
                await out.write(group, i, payload(group, i), group_start=i == 0)
            out.end_group()
            await asyncio.sleep(0.05)


async def publish(session, namespace: str, track: str) -> None:
    t = Frames(session, namespace, track)
    await t.publish()
    await t.wait_closed()


async def subscribe(session, namespace: str, track: str) -> None:
    groups = {}

    def on_object(msg, _size, _time, group, *_):
        if msg.status in (None, ObjectStatus.NORMAL):
            groups.setdefault(group, []).append(hashlib.sha256(bytes(msg.payload)).hexdigest())

    def on_end(group, _subgroup, **_):
        print(json.dumps({"group": group, "frames": groups.pop(group, [])}), flush=True)

    while True:
        t = SubscribedTrack(session, namespace, track, on_object=on_object)
        try:
            await t.subscribe()
            break
        except MOQTRequestError:  # it is not there yet
            await asyncio.sleep(0.1)
    session.register_stream_end_handler(t.track_alias, on_end)
    await t.wait_closed()


async def main(role, url: str, draft: str, certificates: str, *track: str) -> None:
    relay = parse_relay_url(url)
    client = MOQTClient(relay.host, relay.port, path=relay.path, use_quic=relay.use_quic, ca_file=certificates,
                        supported_drafts=int(draft))
    async with client.connect() as session:
        await session.client_session_init()
        work = asyncio.create_task(role(session, *track))
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await asyncio.wait([work, ended], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        work.cancel()
        session.close()


asyncio.run(main({"publish": publish, "subscribe": subscribe}[sys.argv[1]], *sys.argv[2:]))
