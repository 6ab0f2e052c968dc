#!/usr/bin/env python3
"""Reads the vectors of this directory without any of Lethe's own code.

It is written from docs/FORMAT.md alone, with the standard library; AES-256-GCM
and Ed25519 come from the package python3-cryptography where it is installed.
Without it the script says what it could not check, and fails if CI is set.

    python3 verify.py [directory]
"""
import base64
import calendar
import datetime
import hashlib
import hmac
import json
import os
import re
import struct
import sys
import uuid

try:
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    AESGCM = Ed25519PublicKey = None

SALT = b"lethe/v1"
checks = 0
unchecked = set()


class Wrong(Exception):
    pass


def equal(have, want, what):
    global checks
    checks += 1
    if have != want:
        raise Wrong("%s: have %r, want %r" % (what, have, want))


def u32(n):
    return struct.pack(">I", n)


def lp(x):
    if isinstance(x, str):
        x = x.encode()
    return u32(len(x)) + x


def raw(ident):
    return uuid.UUID(ident).bytes


def hmac256(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def hkdf(ikm, info, length):
    prk, out, block, i = hmac256(SALT, ikm), b"", b"", 1
    while len(out) < length:
        block = hmac256(prk, block + info + bytes([i]))
        out, i = out + block, i + 1
    return out[:length]


def b64url(text):
    value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    equal(base64.urlsafe_b64encode(value).rstrip(b"=").decode(), text, "base64url without padding")
    return value


def gcm_open(key, nonce_and_text, aad):
    """None where nothing can decrypt here."""
    if AESGCM is None:
        unchecked.add("AES-256-GCM")
        return None
    try:
        return AESGCM(key).decrypt(nonce_and_text[:12], nonce_and_text[12:], aad)
    except InvalidTag:
        raise Wrong("a body does not authenticate")


def ed25519_verify(public, signature, message):
    if Ed25519PublicKey is None:
        unchecked.add("Ed25519")
        return
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        raise Wrong("a signature does not verify")
    global checks
    checks += 1


def uvarint(data, at):
    value = shift = 0
    start = at
    while True:
        if at >= len(data):
            raise Wrong("a number ends too early")
        byte = data[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            break
    if (byte == 0 and at - start > 1) or value >= 1 << 64:
        raise Wrong("a number is not minimal")
    return value, at


def padme(n):
    if n < 2:
        return n
    e = n.bit_length() - 1
    step = 1 << (e - e.bit_length())
    return (n + step - 1) // step * step


def uuid5(namespace, name):
    digest = bytearray(hashlib.sha1(raw(namespace) + name).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


def ids(v):
    if v["rule"] == "event":
        equal(uuid5(v["namespace"], raw(v["command"]) + u32(v.get("index", 0))), v["result"], "event id")
    elif v["rule"] == "step":
        equal(uuid5(v["namespace"], raw(v["request"]) + lp(v.get("step", ""))), v["result"], "step")
    elif v["rule"] == "keyed":
        key = hmac256(bytes.fromhex(v["pepper"]), raw(v["principal"]) + lp(v["key"]))
        equal(uuid5(v["namespace"], key), v["result"], "keyed command id")
    elif v["rule"] == "directory":
        message = lp(v["namespace"]) + lp(v["scope"]) + lp(v["external_id"])
        equal(hmac256(bytes.fromhex(v["pepper"]), message).hex(), v["result"], "directory key")
    else:
        raise Wrong("unknown rule " + v["rule"])


def places(p):
    head = lp(p["ledger"]) + p["scope"].encode() + raw(p["ref"]) + lp(p["class"])
    full = head + lp(p["tier"]) + lp(p["bucket"]) + u32(p["gen"])
    retention = lp(p["ledger"]) + lp(p["class"]) + lp(p["tier"]) + lp(p["bucket"])
    return full, head + u32(p["gen"]), retention


def where(v):
    full, subject, retention = places(v)
    equal(full.hex(), v["where"], "where")
    equal(subject.hex(), v["where_S"], "where_S")
    equal(retention.hex(), v["where_R"], "where_R")
    equal((lp(v["ledger"]) + raw(v["ref"])).hex(), v["where_id"], "where of a ref")
    if "stream" in v:
        name = "lethe.%s.%s-%s-%d-%s" % (v["ledger"], v["class"], v["tier"], v["gen"], v["ref"])
        equal(name, v["stream"], "stream")


def add_months(t, months):
    years, month = divmod(t.month - 1 + months, 12)
    year = t.year + years
    return t.replace(year=year, month=month + 1, day=min(t.day, calendar.monthrange(year, month + 1)[1]))


def add_period(t, text):
    form = r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?"
    y, m, w, d, hours, minutes = (int(x or 0) for x in re.fullmatch(form, text).groups())
    return add_months(t, 12 * y + m) + datetime.timedelta(days=7 * w + d, hours=hours, minutes=minutes)


WIDTHS = {"minute": ("%Y-%m-%dT%H:%M", "PT1M"), "hour": ("%Y-%m-%dT%H", "PT1H"), "day": ("%Y-%m-%d", "P1D"),
          "month": ("%Y-%m", "P1M"), "year": ("%Y", "P1Y")}


def times(v):
    form, width = WIDTHS[v["width"]]
    at = datetime.datetime.fromisoformat(v["at"].replace("Z", "+00:00"))
    bucket = at.strftime(form)
    start = datetime.datetime.strptime(bucket, form).replace(tzinfo=datetime.timezone.utc)
    end = add_period(start, width)
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    equal(at.strftime("%Y-%m-%dT%HZ"), v["hour"], "hour")
    equal(bucket, v["bucket"], "bucket")
    equal(end.strftime(form), v["next"], "next bucket")
    equal(add_period(start, v["period"]).strftime(stamp), v["due_at_most"], "due at-most")
    equal(add_period(end, v["period"]).strftime(stamp), v["due_at_least"], "due at-least")


def padmes(rows):
    for row in rows:
        equal(padme(row["Length"]), row["Padded"], "Padmé of %d" % row["Length"])


KEYS = ["v", "hour", "policy", "salt", "scope", "ref", "class", "tier", "bucket", "gen", "n", "late", "facts"]


def ordered(text):
    """The pairs of a JSON object as they stand; spaces and escapes are refused."""
    pairs = json.loads(text, object_pairs_hook=list)

    def write(x):
        if isinstance(x, list) and x and isinstance(x[0], tuple):
            return "{" + ",".join(json.dumps(k) + ":" + write(y) for k, y in x) + "}"
        if isinstance(x, list):
            return "[" + ",".join(write(y) for y in x) + "]"
        return json.dumps(x, ensure_ascii=False)

    # an empty object and an empty list read alike: only facts can be empty here
    equal(write(pairs).replace('"facts":[]', '"facts":{}'), text, "the one spelling")
    return pairs


def envelope(v):
    pairs = ordered(v["text"])
    names = [k for k, _ in pairs]
    equal(names, [k for k in KEYS if k in names], "order of keys")
    got = dict(pairs)
    equal(len(got), len(pairs), "a key twice")
    equal(got.pop("v"), 1, "version")
    equal(b64url(got.pop("salt")).hex(), v["salt"], "salt")
    facts = [list(f) for f in got.pop("facts")]
    equal(facts, v["facts"], "facts")
    want = {k: v[k] for k in KEYS if k in v and k not in ("salt", "facts")}
    equal(got, want, "keys")


def tag(v):
    e = v["event"]
    data = bytes.fromhex(e["data"])
    message = lp("lethe/event/v1") + raw(e["id"]) + lp(e["stream"]) + lp(e["type"]) + lp(e["envelope"]) + data[:-16]
    equal(data[4], v["ik"], "number of I")
    equal(hmac256(bytes.fromhex(v["I"]), message)[:16], data[-16:], "tag")
    return data[:4], data[5:-16]


def sealed(v):
    e, place = v["event"], places(v["place"])[0]
    where(v["place"])
    magic, part = tag(v)
    equal(magic, b"LTH\x01", "magic")
    b = hkdf(bytes.fromhex(v["S"]), lp("lethe/bucket/v1") + place, 32)
    equal(b.hex(), v["B"], "B")
    keys = hkdf(b + bytes.fromhex(v["R"]), lp("lethe/seal/v1") + place, 64)
    equal(keys[:32].hex(), v["K"], "K")
    envelope_place(e["envelope"], v["place"])
    if not part:
        equal(v["payload"], "", "an empty part")
        return
    equal(keys[32:], part[:32], "commitment")
    equal(keys[32:].hex(), v["commitment"], "commitment")
    aad = lp("lethe/seal/v1") + raw(e["id"]) + lp(e["stream"]) + lp(e["type"])
    aad += hashlib.sha256(e["envelope"].encode()).digest() + place
    padded = gcm_open(keys[:32], part[32:], aad)
    if padded is None:
        return
    length, at = uvarint(padded, 0)
    equal(padded[at:at + length].hex(), v["payload"], "payload")
    equal(padded[at + length:].strip(b"\0"), b"", "fill")
    equal(len(padded), max(128, padme(at + length)), "padded length")


def envelope_place(text, place):
    got = dict(ordered(text))
    for key in ("scope", "ref", "class", "tier", "bucket", "gen"):
        equal(got[key], place[key], key)


def plain(v):
    magic, body = tag(v)
    ordered(v["event"]["envelope"])
    equal(magic, b"LTD\x01" if "document" in v else b"LTH\x01", "magic")
    equal(body.hex(), v.get("document", ""), "document")


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise Wrong("entries end too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self):
        value, self.at = uvarint(self.data, self.at)
        return value

    def lp(self):
        return self.take(struct.unpack(">I", self.take(4))[0])

    def row(self, *parts):
        start = self.at
        for p in parts:
            self.lp() if p == "lp" else self.take(p)
        return self.data[start:self.at]


def entries(v):
    r = Reader(bytes.fromhex(v["entries"]))
    kind = r.take(1)
    if kind == b"\x01":
        for parts in (("lp", 4, 32), ("lp", 4), ("lp", "lp", "lp", 4, 32), (16, 16)):
            rows = [r.row(*parts) for _ in range(r.number())]
            equal(rows, sorted(rows), "order of rows")
    elif kind == b"\x02":
        classes = [r.lp() for _ in range(r.number())]
        for _ in range(r.number()):
            r.row(16, *[32] * len(classes))
    else:
        raise Wrong("unknown entries")
    equal(r.at, len(r.data), "end of the entries")
    box = bytes.fromhex(v["sealed"])
    equal(box[:4], b"LTB\x01", "magic")
    aad = lp("lethe/bundle/v1") + lp(v["ledger"]) + v["scope"].encode() + raw(v["owner"]) + raw(v["id"])
    opened = gcm_open(bytes.fromhex(v["key"]), box[4:], aad)
    if opened is not None:
        equal(opened, r.data, "entries")


def escrow(v):
    box, hold = bytes.fromhex(v["sealed"]), raw(v["hold"])
    keys = hkdf(bytes.fromhex(v["H"]), lp("lethe/escrow/v1") + hold, 64)
    equal(box[0], v["kind"], "kind")
    equal(box[1:33], keys[32:], "commitment of H")
    aad = lp("lethe/escrow/v1") + box[:1] + hold + bytes.fromhex(v["where"])
    key = gcm_open(keys[:32], box[33:], aad)
    if key is not None:
        equal(key.hex(), v["key"], "key in escrow")


def bits(r, n):
    column = r.take((n + 7) // 8)
    equal(int.from_bytes(column, "little") >> n, 0, "unused bits")
    return [column[i // 8] >> i % 8 & 1 for i in range(n)]


def traffic(v):
    r = Reader(bytes.fromhex(v["block"]))
    equal(r.take(1), b"\x01", "version")
    n = r.number()
    equal(n, v["n"], "records")
    columns = r.take(1)[0]
    if columns & 1:
        at, column = struct.unpack(">q", r.take(8))[0], []
        for _ in range(n):
            z = r.number()
            at += z >> 1 if z & 1 == 0 else -((z + 1) >> 1)
            column.append(at)
        equal(column, v["at"], "at")
    for flag, name in ((2, "directions"), (4, "opcodes")):
        if columns & flag:
            equal(bits(r, n), v[name], name)
    if columns & 8:
        equal([r.number() for _ in range(n)], v["sizes"], "sizes")
    fields = []
    for _ in range(r.number()):
        name = r.lp().decode()
        values = [r.lp().decode() for _ in range(r.number())]
        fields.append({"Name": name, "Values": values or None, "Index": [r.number() for _ in range(n)]})
    equal(fields, v.get("fields", []), "fields")
    equal(r.at, len(r.data), "end of the block")
    for flag, name in ((1, "at"), (2, "directions"), (4, "opcodes"), (8, "sizes")):
        equal(bool(columns & flag), name in v, "column " + name)


def dead(v):
    message = lp("lethe/dead/v1") + bytes([v["kind"]]) + bytes.fromhex(v["where"])
    equal(hmac256(bytes.fromhex(v["T"]), message)[:16].hex(), v["tag"], "dead tag")


def journal(v):
    before = "0" * 64
    for i, line in enumerate(v["lines"]):
        pairs = ordered(line)
        equal([k for k, _ in pairs], ["seq", "prev", "day", "kind", "dead", "sig"], "keys of a line")
        got = dict(pairs)
        equal((got["seq"], got["prev"]), (i, before), "the chain")
        for t in got["dead"]:
            equal(bytes.fromhex(t).hex(), t, "tag")
        message = lp("lethe/journal/v1") + lp(v["ledger"]) + line[:line.index(',"sig"')].encode()
        ed25519_verify(bytes.fromhex(v["ed25519_public"]), b64url(got["sig"]), message)
        before = hashlib.sha256(line.encode()).hexdigest()
        equal(before, v["sha256"][i], "hash of a line")


RECEIPT = ["id", "request", "ground", "classes", "buckets", "keys_destroyed", "requested", "fenced", "destroyed",
           "effective_at", "disposal", "withheld", "held", "tree_head", "mirrors", "key", "signature"]


def receipt(v):
    text = v["text"]
    pairs = json.loads(text, object_pairs_hook=list)
    equal([k for k, _ in pairs], RECEIPT, "keys of a receipt")
    equal(json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False), text, "the one spelling")
    got = dict(pairs)
    for key in ("requested", "fenced", "destroyed", "effective_at"):
        equal(re.sub(r"\dT\d\d:00:00Z$", "", got[key]) != got[key], True, key + " is cut to the hour")
    message = lp("lethe/receipt/v1") + lp(v["ledger"]) + text[:text.rindex(',"signature"')].encode()
    ed25519_verify(bytes.fromhex(v["ed25519_public"]), b64url(got["signature"]), message)


FILES = {"ids.json": ids, "where.json": where, "time.json": times, "padme.json": padmes, "envelopes.json": envelope,
         "seal.json": sealed, "plain.json": plain, "bundle.json": entries, "escrow.json": escrow,
         "traffic.json": traffic, "dead.json": dead, "journal.json": journal, "receipt.json": receipt}


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    files = sorted(f for f in os.listdir(directory) if f.endswith(".json"))
    equal(files, sorted(FILES), "files of vectors")
    failed = count = 0
    for name in files:
        with open(os.path.join(directory, name), encoding="utf-8") as f:
            vectors = json.load(f)["vectors"]
        if not vectors:
            raise Wrong(name + " is empty")
        for label, vector in vectors.items():
            count += 1
            try:
                FILES[name](vector)
            except Exception as e:  # every vector is tried
                failed += 1
                print("%s: %s: %s: %s" % (name, label, type(e).__name__, e), file=sys.stderr)
    for what in sorted(unchecked):
        print("not checked: %s (python3-cryptography is not installed)" % what, file=sys.stderr)
    print("%d vectors, %d checks, %d failed" % (count, checks, failed))
    return 1 if failed or (unchecked and os.environ.get("CI")) else 0


if __name__ == "__main__":
    sys.exit(main())
