"""Damaged versions of valid inputs: of bytes, of text, and of what JSON or a zip file holds."""

from __future__ import annotations

import copy
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutate = Callable[[bytes, Random], bytes]

# numbers at which lengths, offsets and counts go wrong
EDGES = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
WIDE_EDGES = (*EDGES, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_SIZES = (1, 2, 4, 8)
_LONGEST = 1_000_000


def bytes_of(content: bytes, random: Random) -> bytes:
    """A few bytes changed, cut out, repeated, or overwritten with a number at an edge."""
    damaged = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        random.choice(_BYTE_EDITS)(damaged, random)
    return bytes(damaged[:_LONGEST])


def _at(content: bytearray, random: Random) -> int:
    """A position; headers are where most goes wrong."""
    end = len(content) if random.random() < 0.5 else min(len(content), 128)
    return random.randrange(end + 1)


def _flip(content: bytearray, random: Random) -> None:
    at = _at(content, random)
    if at < len(content):
        content[at] ^= 1 << random.randrange(8)


def _replace(content: bytearray, random: Random) -> None:
    at = _at(content, random)
    content[at : at + 1] = random.randbytes(1)


def _number(content: bytearray, random: Random) -> None:
    at, size = _at(content, random), random.choice(_SIZES)
    value = random.choice(WIDE_EDGES) & (2 ** (8 * size) - 1)
    content[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))


def _cut(content: bytearray, random: Random) -> None:
    at = _at(content, random)
    del content[at : at + random.choice((1, 2, 4, 16, 256, len(content)))]


def _insert(content: bytearray, random: Random) -> None:
    at = _at(content, random)
    content[at:at] = random.randbytes(random.choice((1, 2, 4, 16)))


def _repeat(content: bytearray, random: Random) -> None:
    at, size = _at(content, random), random.choice((1, 4, 16, 256))
    content[at:at] = content[at : at + size] * random.choice((1, 2, 16))


def _move(content: bytearray, random: Random) -> None:
    at, to, size = _at(content, random), _at(content, random), random.choice((4, 16, 64))
    content[to : to + size] = content[at : at + size]


_BYTE_EDITS = (_flip, _replace, _number, _number, _cut, _insert, _repeat, _move)


def text_with(tokens: Sequence[str]) -> Mutate:
    """Lines and words moved, repeated or lost, and tokens of the language put anywhere."""

    def mutate(content: bytes, random: Random) -> bytes:
        text = content.decode("utf-8", "replace")
        for _ in range(random.choice((1, 1, 2, 4))):
            text = random.choice(_TEXT_EDITS)(text, tokens, random)
        raw = text[:_LONGEST].encode("utf-8", "replace")
        return bytes_of(raw, random) if random.random() < 0.05 else raw

    return mutate


def _token(text: str, tokens: Sequence[str], random: Random) -> str:
    at = random.randrange(len(text) + 1)
    end = at + random.choice((0, 0, 1, 3, 12))
    return text[:at] + random.choice(tokens) + text[end:]


def _lines(text: str, tokens: Sequence[str], random: Random) -> str:
    lines = text.split("\n")
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    edit = random.randrange(5)
    if edit == 0:
        del lines[at]
    elif edit == 1:
        lines.insert(other, lines[at])
    elif edit == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif edit == 3:
        lines[at] = " " * random.choice((1, 2, 4)) + lines[at]
    else:
        lines[at] = lines[at].lstrip()
    return "\n".join(lines)


def _words(text: str, tokens: Sequence[str], random: Random) -> str:
    words = text.split(" ")
    at = random.randrange(len(words))
    words[at] = random.choice((random.choice(tokens), random.choice(words), words[at] * 2, ""))
    return " ".join(words)


def _cut_text(text: str, tokens: Sequence[str], random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + text[at + random.choice((1, 2, 5, 40, len(text))) :]


_TEXT_EDITS = (_token, _token, _lines, _words, _cut_text)

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 64, 65, 10**9, 10**30, -(10**30)),
    *(0.5, 1.5, -0.0, 1e-320, 1e308, float("inf"), float("nan")),
    *("", "x", "1e-4", "null", "~", "yes", "../../etc/passwd", "/dev/zero", "\x1b[31m", "\x00"),
    *("\ud800", "é" * 300, "a" * 5000, "postgresql://u:p@h/d", "os:system", "${HOME}", "{{x}}"),
    *([], [[]], [None], [1, 2], {}, {"": 1}, {"a": {"b": {}}}, {"low": 1}, {"high": 1}),
    *({"low": 1, "high": 2}, {"low": 2, "high": 1}, {"low": 1, "high": 4, "step": 0.3}),
    *({"low": 0, "high": 1, "log": True}, {"low": 1e-300, "high": 1e300, "log": True}),
    *({"choices": []}, {"choices": [1]}, {"choices": [1, 1.0, True, None]}),
    {"choices": list(range(200))},
    {"low": 1, "high": 2, "when": {"network.family": ["stages"]}},
    {"low": 1, "high": 2, "when": {"x": {}}},
)


def tree(root: Any, random: Random, words: Sequence[str] = ()) -> Any:
    """A copy of JSON's values with odd ones put in, keys renamed, branches moved or repeated."""
    root = copy.deepcopy(root)
    for _ in range(random.choice((1, 1, 2, 4))):
        places = list(_places(root))
        if not places:
            return random.choice(ODD)
        node, key = random.choice(places)
        edit = random.randrange(8)
        if edit < 4:
            node[key] = copy.deepcopy(random.choice(ODD))
        elif edit == 4:
            del node[key]
        elif edit == 5:
            other, name = random.choice(places)
            node[key] = copy.deepcopy(other[name])
        elif edit == 6 and isinstance(node, dict):
            node[random.choice((*words, "x", "", str(key) + "s"))] = node[key]
        else:
            node[key] = _nested(node[key], random)
    return root


def _places(node: Any) -> Any:
    """Every (container, key) of a tree."""
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in list(keys):
        yield node, key
        yield from _places(node[key])


def _nested(value: Any, random: Random) -> Any:
    for _ in range(random.choice((1, 2, 60, 300))):
        value = [value] if random.random() < 0.5 else {"x": value}
    return value


def json_of(content: bytes, random: Random) -> bytes:
    """JSON whose values are damaged, now and then its text."""
    if random.random() < 0.2:
        return bytes_of(content, random)
    return json.dumps(tree(json.loads(content), random)).encode("utf-8", "replace")


def zip_of(member: Mutate) -> Mutate:
    """A zip file with a damaged member that is packed anew, or with damaged bytes of its own."""

    def mutate(content: bytes, random: Random) -> bytes:
        if random.random() < 0.3:
            return bytes_of(content, random)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = random.choice(list(members))
        members[name] = member(members[name], random)
        if random.random() < 0.1:
            members[random.choice(("../x.npy", "/x.npy", ".npy", "x", name * 2))] = members.pop(
                name
            )
        out = io.BytesIO()
        packing = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
        with zipfile.ZipFile(out, "w", packing) as archive:
            for name, raw in members.items():
                archive.writestr(name, raw)
        packed = out.getvalue()
        return bytes_of(packed, random) if random.random() < 0.1 else packed

    return mutate


def npy_of(content: bytes, random: Random) -> bytes:
    """A npy file whose header says another thing, or with damaged bytes."""
    if random.random() < 0.4 or content[:6] != b"\x93NUMPY":
        return bytes_of(content, random)
    length = int.from_bytes(content[8:10], "little")
    header = _npy_header(content[10 : 10 + length].decode("latin1"), random).encode("latin1")
    return content[:8] + len(header).to_bytes(2, "little") + header + content[10 + length :]


_NPY_TOKENS = (
    *("'|O'", "'<U9'", "'<f8'", "'<c16'", "'<M8[us]'", "'|V7'", "'|u1'", "'|b1'", "'<f2'", "'>i8'"),
    *("(1000000000000,)", "(-1,)", "(0,)", "()", "(2, 2, 2)", "(5, 4, 1, 1, 1)", "(True,)"),
    *("[('t', '<i8'), ('x', '|O')]", "[('t','<i8'),('x','<i8'),('y','<i8'),('p','<i8')]"),
    *("True", "False", "None", "9" * 5000, "[" * 300, "__import__('os')", "'x' * 10**9", ",", "}"),
)


def _npy_header(header: str, random: Random) -> str:
    start, value = random.choice((("'descr': ", ", 'f"), ("'shape': ", ", }"), ("'fortran", ", '")))
    at = header.find(start)
    if at < 0 or random.random() < 0.2:
        return text_with(_NPY_TOKENS)(header.encode("latin1"), random).decode("latin1", "replace")
    at += len(start)
    end = header.find(value, at)
    return header[:at] + random.choice(_NPY_TOKENS) + header[max(at, end) :]


def safetensors_of(content: bytes, random: Random) -> bytes:
    """A safetensors file whose header says another thing, or with damaged bytes."""
    if random.random() < 0.3:
        return bytes_of(content, random)
    length = int.from_bytes(content[:8], "little")
    header = json_of(content[8 : 8 + length], random)
    said = len(header) if random.random() < 0.9 else random.choice(WIDE_EDGES) & (2**64 - 1)
    return said.to_bytes(8, "little") + header + content[8 + length :]


def gzip_of(inner: Mutate) -> Mutate:
    """A compressed file with damaged contents, or with damaged bytes of its own."""

    def mutate(content: bytes, random: Random) -> bytes:
        if random.random() < 0.3:
            return bytes_of(content, random)
        plain = inner(zlib.decompress(content, wbits=31), random)
        packer = zlib.compressobj(1, wbits=31)
        return packer.compress(plain) + packer.flush()

    return mutate
