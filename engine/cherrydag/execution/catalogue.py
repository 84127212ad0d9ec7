"""The modules that a chain may have, by the names that its genesis gives them."""

from collections.abc import Callable, Iterable
from typing import Final

from cherrydag.chain import Chain
from cherrydag.errors import ConfigError
from cherrydag.execution.anchor import Anchors
from cherrydag.execution.assets import Assets
from cherrydag.execution.bonds import Bonds
from cherrydag.execution.module import Module
from cherrydag.execution.multisig import Multisig

MODULES: Final[dict[str, Callable[[Chain | None], Module]]] = {
    Anchors.name: lambda _: Anchors(),
    Assets.name: lambda _: Assets(),
    Bonds.name: Bonds,
    Multisig.name: lambda _: Multisig(),
}


def modules_of(names: Iterable[str], chain: Chain | None = None) -> tuple[Module, ...]:
    """New ones of these names. ConfigError for a name that no module has.

    chain: whose operations they execute; without it they are good for looking at, not for executing.
    """
    listed = list(names)
    for name in listed:
        if name not in MODULES:
            raise ConfigError(f"modules: there is no {name!r}; known are {', '.join(MODULES)}")
    return tuple(MODULES[name](chain) for name in listed)
