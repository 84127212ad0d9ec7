"""The program: its commands, and how each of them ends."""

import sys
import traceback
from typing import Any, NoReturn

import click

from cherrydag import __version__
from cherrydag.cli.bench_commands import bench
from cherrydag.cli.bond_commands import COMMANDS as BOND_COMMANDS
from cherrydag.cli.config_commands import config
from cherrydag.cli.database_commands import backup, db
from cherrydag.cli.devnet_commands import devnet, faucet
from cherrydag.cli.doctor_commands import doctor
from cherrydag.cli.evidence_commands import COMMANDS as EVIDENCE_COMMANDS
from cherrydag.cli.exits import MEANINGS, Exit, exit_of, words_of
from cherrydag.cli.genesis_commands import genesis
from cherrydag.cli.init_commands import init
from cherrydag.cli.key_commands import keys
from cherrydag.cli.ledger_commands import COMMANDS
from cherrydag.cli.node_commands import COMMANDS as NODE_COMMANDS
from cherrydag.cli.run_commands import run
from cherrydag.cli.support_commands import COMMANDS as SUPPORT_COMMANDS
from cherrydag.cli.top_commands import top
from cherrydag.errors import CherrydagError

NAME = "cherrydag"

_COMPLETE_VARIABLE = "_CHERRYDAG_COMPLETE"


def _error(words: str) -> None:
    click.echo(f"error: {words}", err=True)


class Program(click.Group):
    """The root of all commands: an exception becomes a line on stderr and an exit code."""

    def main(self, *args: Any, **settings: Any) -> NoReturn:
        """Run a command line, as click.Command.main takes it, and exit with its code."""
        sys.exit(self._run(*args, **settings))

    def _run(self, *args: Any, **settings: Any) -> int:
        own = {"prog_name": NAME, "complete_var": _COMPLETE_VARIABLE, "standalone_mode": False}
        try:
            done = super().main(*args, **settings | own)
        except click.exceptions.NoArgsIsHelpError as asked:
            click.echo(asked.format_message(), err=True)
            return Exit.USAGE
        except click.UsageError as error:
            _error(error.format_message())
            if error.ctx is not None:
                click.echo(f"try: {error.ctx.command_path} --help", err=True)
            return Exit.USAGE
        except click.ClickException as error:
            _error(error.format_message())
            return Exit.USAGE
        except click.Abort as stopped:
            if stopped.__cause__ is None:
                click.echo(err=True)  # the cursor stands behind a question
            _error("interrupted, or not confirmed")
            return Exit.INTERRUPTED
        except (CherrydagError, OSError) as error:
            code = exit_of(error)
            if code == Exit.INTERNAL:
                traceback.print_exc()
            _error(words_of(error))
            return code
        except Exception as error:  # noqa: BLE001 - the process's edge: what nobody expected
            traceback.print_exc()
            _error(f"a bug of {NAME}: {type(error).__name__}: {error}")
            return Exit.INTERNAL
        return int(done or 0)


def _exit_codes() -> str:
    return "\n".join(["\b", "Exit codes:", *(f"  {code:<4d}{words}" for code, words in MEANINGS.items())])


@click.group(
    cls=Program,
    epilog=_exit_codes(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name=NAME)
def cli() -> None:
    """A DAG-plus-main-chain ledger: make one, pay, look things up, check and copy its database.

    DIR is a ledger's folder, as `init` makes it; while its node runs, that is asked. URL is a node's API,
    http://host:port. Amounts are integers of smallest units (10^-18 coin), or
    coins with their unit: 2.5coin. With --json a command prints one JSON document, in which amounts are
    strings of smallest units. Errors go to stderr.
    """


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash  cherrydag completion bash > ~/.local/share/bash-completion/completions/cherrydag
    zsh   cherrydag completion zsh > "${fpath[1]}/_cherrydag"
    fish  cherrydag completion fish > ~/.config/fish/completions/cherrydag.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is not None:
        click.echo(found(cli, {}, NAME, _COMPLETE_VARIABLE).source())


for _command in (
    init,
    *COMMANDS,
    *NODE_COMMANDS,
    *BOND_COMMANDS,
    *EVIDENCE_COMMANDS,
    keys,
    genesis,
    db,
    backup,
    run,
    config,
    doctor,
    *SUPPORT_COMMANDS,
    top,
    devnet,
    faucet,
    bench,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """The command `cherrydag`."""
    cli.main()
