"""Commands about a node's settings: `cherrydag config`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cherrydag.cli.options import PATH, folder_argument, json_option
from cherrydag.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from cherrydag.config_sources import Loaded

_file_option = click.option("--config", "file", type=PATH, help="Settings.  [default: config.toml in DIR]")
_set_option = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="As `run` takes it.")


@click.group()
def config() -> None:
    """Check, show and begin the settings of a node.

    A value comes from the command line, or else from CHERRYDAG_SECTION_NAME, or else from config.toml in the
    node's folder, or else it has its default. The rules of the chain are in its genesis, not here.
    """


@config.command()
@folder_argument
@_file_option
@_set_option
@json_option
def check(folder: Path, file: Path | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Check the settings of the node in DIR against each other and its genesis, and print all of them.

    Exit code 3 if one is wrong. What is allowed but may surprise is told on stderr.
    """
    from cherrydag import config as rules
    from cherrydag.cli.configuring import flags_of, loaded
    from cherrydag.cli.solo import find_key
    from cherrydag.config_sources import toml_text
    from cherrydag.runtime.home import VALIDATOR, Home

    home = Home.load(folder)
    found = loaded(folder, file, flags_of(settings, {}))
    own = find_key(home.keystore, VALIDATOR)
    warnings = rules.check(found.config, home.genesis, own.public_key)
    if as_json:
        print_json({"settings": _document(found), "warnings": list(warnings)})
        return
    rows = [(setting.key.name, toml_text(setting.value), setting.origin) for setting in found.settings]
    print_table(("key", "value", "origin"), rows)
    for words in warnings:
        note(f"warning: {words}")


@config.command()
@folder_argument
@_file_option
@_set_option
@json_option
def show(folder: Path, file: Path | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Print the settings of the node in DIR as a file, with what they mean."""
    from cherrydag.cli.configuring import flags_of, loaded
    from cherrydag.config_sources import dumps

    found = loaded(folder, file, flags_of(settings, {}))
    if as_json:
        print_json({"settings": _document(found)})
    else:
        click.echo(dumps(found.settings), nl=False)


def _document(found: "Loaded") -> dict[str, object]:
    return {one.key.name: {"value": one.value, "origin": one.origin} for one in found.settings}


@config.command()
@folder_argument
@json_option
def init(folder: Path, as_json: bool) -> None:
    """Write a config.toml to DIR in which every setting stands in a comment, with what it means."""
    from cherrydag.config_sources import FILE, dumps
    from cherrydag.errors import ConfigError
    from cherrydag.runtime.home import Home

    Home.load(folder)
    path = folder / FILE
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(dumps())
    except FileExistsError:
        raise ConfigError(f"{path}: it is there already") from None
    if as_json:
        print_json({"file": str(path)})
    else:
        click.echo(path)
