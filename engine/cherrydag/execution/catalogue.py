"""The modules that a chain may have, by the names that its genesis gives them."""

from collections.abc import Callable, Iterable
from typing import Final

from cherrydag.errors import ConfigError
from cherrydag.execution.anchor import Anchors
from cherrydag.execution.assets import Assets
from cherrydag.execution.module import Module
from cherrydag.execution.multisig import Multisig

MODULES: Final[dict[str, Callable[[], Module]]] = {
    module.name: module for module in (Anchors, Assets, Multisig)
}


def modules_of(names: Iterable[str]) -> tuple[Module, ...]:
    """New ones of these names. ConfigError for a name that no module has."""
    listed = list(names)
    for name in listed:
        if name not in MODULES:
            raise ConfigError(f"modules: there is no {name!r}; known are {', '.join(MODULES)}")
    return tuple(MODULES[name]() for name in listed)
