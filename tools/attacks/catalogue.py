"""All attacks, by name, in the order of the table in the design."""

from typing import Final

from attacks import api, floods, sync, vertices
from attacks.attack import Attack

ATTACKS: Final[dict[str, Attack]] = {
    attack.name: attack for family in (floods, vertices, sync, api) for attack in family.ATTACKS
}
