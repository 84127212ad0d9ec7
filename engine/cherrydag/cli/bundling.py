"""What a support bundle holds, and that no secret is in it.

Nothing is copied that is there to hold one: no key, no sign-state, no settings as they were written. What
could have got into a log or an error all the same is looked for, secret by secret, and removed.
"""

import base64
import gzip
import io
import json
import os
import platform
import re
import resource
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cherrydag import __version__
from cherrydag.cli.doctor.examination import examine
from cherrydag.cli.doctor.network import call, get
from cherrydag.cli.doctor_commands import document
from cherrydag.config_sources import Sources, dumps, file_in, load
from cherrydag.errors import CherrydagError
from cherrydag.keystore import words_of
from cherrydag.logs import RECENT, RECENT_OLD
from cherrydag.runtime.home import KEYS, Home
from cherrydag.runtime.marks import DIVERGENCE, RUNNING, SAFE_MODE, running_node
from cherrydag.signing import SEED_BYTES

REMOVED: Final = b"[removed]"
FILE_BYTES_MAX: Final = 4 << 20
FILES_MAX: Final = 1000

SECRET_CHARS_MIN: Final = 6
"""Shorter passwords occur by chance, and protect nothing."""

WORDS_TOGETHER: Final = 4
"""So many of a seed's words in a row are removed; fewer are words like others."""

_HEX: Final = re.compile("(?:[0-9a-fA-F]{2}){8,}")
_SECRET_FIELDS: Final = ("seed", "box", "salt")
_PASSWORD_FILE: Final = "CHERRYDAG_PASSWORD_FILE"  # noqa: S105 - its name


def write_bundle(folder: Path, output: Path) -> list[str]:
    """Make the file, whole or not at all; the names of what is in it. OSError if it is there already, or
    cannot be written; ConfigError if the folder is none of a node's."""
    home = Home.load(folder)
    members = clean(collect(home), patterns(home, os.environ))
    text = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=text, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, data in members.items():
            info = tarfile.TarInfo(f"cherrydag-support/{name}")
            info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
            tar.addfile(info, io.BytesIO(data))
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.getvalue())
    except OSError:
        output.unlink(missing_ok=True)
        raise
    return list(members)


# What is in it


def collect(home: Home) -> dict[str, bytes]:
    """Files by name. What cannot be had is told in its place."""
    folder, info = home.folder, running_node(home.folder)
    api = "" if info is None else info.api
    members = {
        "about.json": _json(_about(home)),
        "doctor.json": _or_why(lambda: _json(document(examine(folder), 0))),
        "settings.toml": _or_why(lambda: _settings(folder)),
        "system.json": _or_why(lambda: _json(_system())),
        "files.txt": _or_why(lambda: "".join(_files(folder)).encode()),
    }
    if api:
        for method in ("status", "peers", "limits"):
            members[f"{method}.json"] = _or_why(lambda method=method: _json(call(api, method)))  # type: ignore[misc]
        members["metrics.txt"] = _or_why(lambda: get(f"{api}/metrics"))
    kept = (
        RECENT_OLD,
        RECENT,
        RUNNING,
        SAFE_MODE,
        *sorted(one.name for one in folder.glob(f"{DIVERGENCE}*")),
    )
    for name in kept:
        path = folder / name
        if path.is_file() and not path.is_symlink():
            members[f"folder/{name}"] = _or_why(lambda path=path: _tail(path))  # type: ignore[misc]
    return members


def _or_why(read: Callable[[], bytes]) -> bytes:
    """A bundle is made when things are broken: each part stands for itself."""
    try:
        return read()
    except (CherrydagError, OSError, ValueError, LookupError) as error:
        return f"cannot be had: {type(error).__name__}: {error}\n".encode()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, default=str).encode() + b"\n"


def _about(home: Home) -> dict[str, Any]:
    return {
        "version": __version__,
        "made_s": int(time.time()),
        "chain": home.genesis.name,
        "network": str(home.genesis.network),
        "genesis_digest": home.genesis.digest.hex(),
        "validators": len(home.genesis.validators),
        "removed": "keys, passwords, sign-state; in other files whatever equals one of these",
    }


def _settings(folder: Path) -> bytes:
    """As they are in force, never as a file has them, whose comments are anybody's."""
    return dumps(load(Sources(file_in(folder), os.environ, {})).settings).encode()


def _system() -> dict[str, Any]:
    limits = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg(),
        "memory": Path("/proc/meminfo").read_text().splitlines()[:8],
        "limits": {name: resource.getrlimit(number) for name, number in limits.items()},
    }


def _files(folder: Path) -> Iterator[str]:
    """What lies in the folder: mode, size, name; nothing of what is in it."""
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if number == FILES_MAX:
            yield "...\n"
            return
        found = path.lstat()
        yield f"{found.st_mode:06o} {found.st_size:>14} {path.relative_to(folder)}\n"


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - FILE_BYTES_MAX))
        return file.read(FILE_BYTES_MAX)


# What is not


def patterns(home: Home, environment: Mapping[str, str]) -> list[re.Pattern[bytes]]:
    """Every form in which a secret of this node could stand somewhere."""
    found = [re.compile(re.escape(form)) for secret in _secrets(home) for form in _forms(secret)]
    for words in _phrases(home):
        found += _runs(words)
    password = Path(environment[_PASSWORD_FILE]) if environment.get(_PASSWORD_FILE) else None
    if password is not None:
        lines = _or_why(lambda: _tail(password)).splitlines()
        if lines and len(lines[0]) >= SECRET_CHARS_MIN:
            found.append(re.compile(re.escape(lines[0])))
    return found


def clean(members: Mapping[str, bytes], secret: Sequence[re.Pattern[bytes]]) -> dict[str, bytes]:
    """The same without whatever one of the patterns finds."""
    found = {}
    for name, data in members.items():
        for pattern in secret:
            data = pattern.sub(REMOVED, data)
        found[name] = data
    return found


def _secrets(home: Home) -> list[bytes]:
    """The secret bytes of the key files, sealed ones too."""
    found = []
    for path in sorted((home.folder / KEYS).glob("*.json")):
        try:
            fields = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        scrypt = fields.get("scrypt")
        texts = [fields.get(name) for name in _SECRET_FIELDS]
        texts.append(scrypt.get("salt") if isinstance(scrypt, dict) else None)
        found += [bytes.fromhex(text) for text in texts if isinstance(text, str) and _HEX.fullmatch(text)]
    return found


def _forms(secret: bytes) -> list[bytes]:
    digits = secret.hex()
    encoded = [base64.b64encode(secret).rstrip(b"="), base64.urlsafe_b64encode(secret).rstrip(b"=")]
    return [secret, digits.encode(), digits.upper().encode(), *encoded]


def _phrases(home: Home) -> list[list[str]]:
    return [words_of(secret).split() for secret in _secrets(home) if len(secret) == SEED_BYTES]


def _runs(words: list[str]) -> list[re.Pattern[bytes]]:
    """So many words in a row, from longer to shorter, whatever stands between them."""
    return [
        re.compile(rb"\W+".join(re.escape(word.encode()) for word in words[at : at + count]), re.IGNORECASE)
        for count in (len(words), WORDS_TOGETHER)
        for at in range(len(words) - count + 1)
    ]
