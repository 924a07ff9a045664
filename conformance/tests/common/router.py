# SPDX-License-Identifier: GPL-2.0-or-later
"""A tunnel router that is none: python3 router.py MAP-SERVER MODE.

It listens at the ports of LISP. MODE is what is wrong with it: silent, which says nothing; garbage, which registers a site (HMAC-SHA-1, "s") again
and again, and answers each datagram with what means nothing; flood, which sends such to its Map-Server without a pause, and registers when it has sent
more than anybody keeps."""

import hashlib
import hmac
import itertools
import select
import socket
import struct
import sys
import time

SERVER, MODE = (sys.argv[1], 4342), sys.argv[2]
GARBAGE = b"\xff" * 100
# The suites keep 100,000 packets of a cable.
BEFORE = 400_000
BETWEEN = 10_000


def register():
    """A Map-Register of 2001:db8:2::/48 that wants a Map-Notify."""
    record = struct.pack("!IBBHHH", 1440, 1, 48, 0x1000, 0, 2) + bytes.fromhex("20010db80002") + bytes(10)
    locator = struct.pack("!BBBBHH", 1, 100, 255, 0, 5, 1) + socket.inet_aton("198.51.100.1")
    head = struct.pack("!IQHH", 0x30000101, time.monotonic_ns(), 1, 20)
    tag = hmac.new(b"s", head + bytes(20) + record + locator, hashlib.sha1).digest()
    return head + tag + record + locator


def send(end, octets):
    try:
        end.sendto(octets, SERVER)
    except OSError:
        # There may be no way yet.
        time.sleep(0.001)


def bound(port):
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("", port))
    return end


def flood(end):
    for count in itertools.count():
        send(end, GARBAGE)
        if count >= BEFORE and count % BETWEEN == 0:
            send(end, register())


def serve(ends):
    due = 0
    while True:
        if MODE == "garbage" and time.monotonic() >= due:
            send(ends[0], register())
            due = time.monotonic() + 1
        for end in select.select(ends, [], [], 0.1)[0]:
            _, whoever = end.recvfrom(65536)
            if MODE == "garbage":
                end.sendto(GARBAGE, whoever)


ENDS = [bound(4342), bound(4341)]
print("ready", flush=True)
if MODE == "flood":
    flood(ENDS[0])
serve(ENDS)
