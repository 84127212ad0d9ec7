"""The whole examination, in an order in which one thing explains the next, in three seconds at most."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from cherrydag.cli.doctor import machine, network
from cherrydag.cli.doctor.findings import Finding
from cherrydag.cli.doctor.folder import Found, look
from cherrydag.config import FILES_OWN, files_needed


def examine(folder: Path | None) -> list[Finding]:
    """What there is to say of a node's folder and this machine; of the machine alone without a folder."""
    if folder is None:
        return [*_machine(), machine.clock(machine.clock_state(), None)]
    findings, found = look(folder, os.environ)
    if found is None:
        return [*findings, *_machine(), machine.clock(machine.clock_state(), None)]
    dials = None
    if found.config is not None and found.key is not None:  # they take their time while the rest is done
        wanted = network.targets(found.home.genesis, found.config, found.key.public_key)
        dials = network.Dials(found.home.genesis, wanted)
    of_node, offset_ms = network.node(found)
    findings += of_node
    findings += network.ports(found)
    findings += _machine()
    findings.append(machine.clock(machine.clock_state(), offset_ms))
    data = found.home.data
    findings += machine.disk(data if data.is_dir() else folder)
    findings += _limits(found)
    if dials is not None and found.key is not None:
        findings += network.peers(found.home.genesis, found.key.public_key, dials.answers())
    return findings


def _machine() -> Iterator[Finding]:
    yield machine.versions()
    yield machine.processor_here()
    yield machine.memory_here()


def _limits(found: Found) -> Iterator[Finding]:
    """What the settings ask of this process's limits."""
    if found.config is None:
        return
    validators = len(found.home.genesis.validators)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield machine.open_files(hard, FILES_OWN + 2 * validators, files_needed(found.config, validators))
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    yield machine.address_space(space, found.config.store.map_bytes_max)
