"""Figures of a node, as its API exports them."""

import urllib.request

from attacks.site import VICTIM, Site

_PREFIX = "cherrydag_"


def read_metrics(site: Site, *names: str, node: int = VICTIM) -> dict[str, float]:
    """Those figures whose names begin so; a label's value is added to the name."""
    try:
        with urllib.request.urlopen(site.api(node) + "/metrics", timeout=10) as response:
            text = response.read().decode()
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        name, _, value = line.removeprefix(_PREFIX).rpartition(" ")
        if line.startswith(_PREFIX) and "_created" not in name and name.startswith(names):
            found[name.replace("_total", "").replace('"', "").strip("}").replace("{", " ")] = float(value)
    return found
