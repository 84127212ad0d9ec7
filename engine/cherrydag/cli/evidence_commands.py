"""The command that hands in evidence against operators."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cherrydag.cli.exits import Exit
from cherrydag.cli.operating import check_has_bonds, key_of, operated, signing_options
from cherrydag.cli.options import PATH, Where, json_option, where_argument
from cherrydag.cli.output import amount_text, note, print_fields, print_json

if TYPE_CHECKING:
    from cherrydag.cli.reaching import Reached
    from cherrydag.runtime.evidence import FiledEvidence


@click.command()
@where_argument
@click.argument("files", metavar="[FILE]...", nargs=-1, type=PATH)
@signing_options
@json_option
def slash(
    where: Where,
    files: tuple[Path, ...],
    sender: str,
    fee: int,
    password_file: Path | None,
    keystore: Path | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Hand in evidence that an operator has signed two vertices under one number: a tenth of his bond is
    the reward, the rest is burned.

    FILE: equivocation-KEY.json, as a node writes it. Without any, all those in DIR whose operators still
    have a bond. Evidence counts once: of one who has no bond any more it is refused.
    """
    from cherrydag.cli.reaching import reached
    from cherrydag.execution.bonds import BondKind

    code, told = Exit.OK, []
    with reached(where, url, quiet=as_json, hands_in=True) as found:
        taken = _evidence(found, where, files)
        key = key_of(found, sender, keystore, password_file) if taken else None
        for path, filed in taken:
            if key is not None:
                done = operated(found, where, key, BondKind.SLASH, filed.body, fee=fee)
                told.append({"file": str(path), "operator": filed.evidence.issuer.hex()} | done)
                code = code if done["status"] == "applied" else Exit.REJECTED
    if as_json:
        print_json(told)
    elif not told:
        click.echo("there is no evidence against anybody who has a bond")
    for done in [] if as_json else told:
        events = done["events"]
        rewards = {name: amount_text(event[name]) for event in events for name in ("reward", "burned")}
        refusal = {"refusal": done["refusal"]} if done["refusal"] else {}
        fields = {name: done[name] for name in ("operator", "id", "status")}
        print_fields(fields | rewards | refusal)
    if code:
        note("error: not all of the evidence had an effect")
    return code


def _evidence(found: "Reached", where: Where, files: Sequence[Path]) -> "list[tuple[Path, FiledEvidence]]":
    """What is to be handed in, checked here: a fee is paid for what is refused, too."""
    from cherrydag.errors import ConfigError, Rejected
    from cherrydag.execution.evidence import EvidenceRefusal
    from cherrydag.runtime.evidence import equivocations_in, read_equivocation

    check_has_bonds(found)
    if not files and isinstance(where, str):
        raise click.UsageError("FILE: needed with a URL")
    paths = files or (equivocations_in(where) if isinstance(where, Path) else ())
    taken = [(path, read_equivocation(path)) for path in paths]
    for path, filed in taken:
        if filed.genesis_digest != found.genesis.digest:
            raise ConfigError(f"{path}: it is of another chain, {filed.genesis_digest.hex()}")
        if not filed.evidence.is_signed(found.genesis.chain()):
            raise Rejected(EvidenceRefusal.SIGNATURE, f"{path}: not both headers are signed by their issuer")
    if files:
        return taken
    return [one for one in taken if found.ledger.bond(one[1].evidence.issuer).bond is not None]
