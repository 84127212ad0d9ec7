"""A node's folder: genesis, settings, keys, sign-state, marks. Nothing is changed, and no key is opened."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from cherrydag import config as rules
from cherrydag.cli.doctor.findings import Finding, fail, ok, warn
from cherrydag.config import Config, own_validator
from cherrydag.config_sources import Sources, file_in, load
from cherrydag.errors import CherrydagError, ConfigError, InUse, StorageError
from cherrydag.keystore import StoredKey
from cherrydag.runtime.home import SIGN_STATE, VALIDATOR, Home
from cherrydag.runtime.marks import RunInfo, divergence_in, is_safe_mode, running_node

_FILES = "RLIMIT_NOFILE"  # has a finding of its own


class Found(NamedTuple):
    """What is read of a folder. config: None if it is wrong; info: of the process that runs its node."""

    home: Home
    key: StoredKey | None
    config: Config | None
    info: RunInfo | None


def look(folder: Path, environment: Mapping[str, str]) -> tuple[list[Finding], Found | None]:
    """What there is to say, and what could be read; None if it is no node's folder."""
    try:
        home = Home.load(folder)
    except CherrydagError as error:
        return [fail("genesis", str(error), "give a folder that `cherrydag init` has made")], None
    count = len(home.genesis.validators)
    words = f"{home.genesis.name}, network {home.genesis.network}, {count} "
    words += f"{'validator' if count == 1 else 'validators'}, {home.genesis.digest.hex()}"
    findings = [ok("genesis", words)]
    info = running_node(folder)
    key, of_keys = _keys(home)
    findings += of_keys
    config, of_config = _settings(home, key, environment)
    findings += of_config
    findings += _sign_state(home, key, info)
    findings += _marks(folder)
    return findings, Found(home, key, config, info)


def _keys(home: Home) -> tuple[StoredKey | None, list[Finding]]:
    try:
        keys = home.keystore.list_keys()
    except CherrydagError as error:
        return None, [fail("keys", str(error), "only its owner may read a key: set the mode that is named")]
    key = next((one for one in keys if one.name == VALIDATOR), None)
    if key is None:
        return None, [fail("keys", f"there is none named {VALIDATOR}", "restore keys/ from its backup")]
    own = own_validator(home.genesis, key.public_key)
    role = "of no validator" if own is None else f"of validator {own.name}"
    words = f"{len(keys)} in the keystore; the node's is {role}, {key.public_key.hex()}"
    owner = (home.folder / "keys").stat().st_uid
    if owner != os.getuid():
        words = f"the keystore belongs to user {owner}, this is user {os.getuid()}"
        return key, [warn("keys", words, "run the node, and this, as the user who owns its folder")]
    if own is not None and not key.is_encrypted and len(home.genesis.validators) > 1:
        advice = "whoever copies keys/ can sign in its place: cherrydag keys passwd, or an encrypted disk"
        return key, [ok("keys", words), warn("key password", "the validator's key has none", advice)]
    return key, [ok("keys", words)]


def _settings(
    home: Home, key: StoredKey | None, environment: Mapping[str, str]
) -> tuple[Config | None, list[Finding]]:
    advice = f"cherrydag config show {home.folder} prints all settings with what they mean"
    try:
        found = load(Sources(file_in(home.folder), environment, {}))
        warnings = () if key is None else rules.check(found.config, home.genesis, key.public_key)
    except ConfigError as error:
        return None, [fail("settings", str(error), advice)]
    changed = sum(one.origin != "default" for one in found.settings)
    findings = [ok("settings", f"{changed} of {len(found.settings)} are not defaults")]
    told = [words for words in warnings if not words.startswith(_FILES)]
    return found.config, [*findings, *(warn("settings", words, advice) for words in told)]


def _sign_state(home: Home, key: StoredKey | None, info: RunInfo | None) -> Iterator[Finding]:
    """Whether what the key has signed is remembered. Of a node that runs only the file's mode is seen."""
    if key is None:
        return
    path = home.folder / SIGN_STATE
    is_validator = own_validator(home.genesis, key.public_key) is not None
    advice = (
        "restore it from its backup; a key of which it is not known what it has signed must not sign again"
    )
    if info is not None:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            yield fail("sign-state", f"{path}: {error.strerror}", advice)
            return
        if mode & 0o077:
            yield fail("sign-state", f"{path}: mode {mode:04o}", f"chmod 600 {path}")
        else:
            yield ok("sign-state", f"in use by process {info.pid}")
        return
    if not is_validator and not path.exists():
        yield ok("sign-state", "none, and none is needed: it is no validator")
        return
    try:
        with home.sign_state(key.public_key) as file:
            mark, is_damaged = file.load(), file.has_damaged_slot
    except InUse as error:
        yield warn("sign-state", str(error), "only one process may ever sign with a key: see which one it is")
        return
    except (ConfigError, StorageError) as error:
        yield fail("sign-state", str(error), advice)
        return
    if is_damaged:
        yield warn("sign-state", "one of its two slots cannot be read", "check the disk; the other one holds")
        return
    yield ok("sign-state", "nothing signed yet" if mark is None else f"signed up to round {mark.round}")


def _marks(folder: Path) -> Iterator[Finding]:
    """What an earlier life has left behind."""
    if is_safe_mode(folder):
        how = f"see its log for why, then: cherrydag run {folder} --leave-safe-mode"
        yield fail("safe mode", "it has crashed too often in a row, and is only to be read", how)
    try:
        divergence = divergence_in(folder)
    except CherrydagError as error:
        yield fail("divergence", str(error), "it cannot be told whether it may sign; see the file")
        return
    if divergence is not None:
        how = f"keep {divergence.path.name} and report it; then: cherrydag run {folder} --clear-divergence"
        words = f"a quorum has another state at commit {divergence.commit_index}"
        yield fail("divergence", words, how)
