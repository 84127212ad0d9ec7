"""Commands for the evidence that nodes keep: to look at, and to hand in."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cherrydag.cli.exits import Exit
from cherrydag.cli.operating import Signing, check_has_bonds, operated, signing_options
from cherrydag.cli.options import PATH, Where, folder_argument, json_option, where_argument
from cherrydag.cli.output import amount_text, note, print_fields, print_json, print_table

if TYPE_CHECKING:
    from cherrydag.cli.reaching import Reached
    from cherrydag.execution.evidence import Evidence
    from cherrydag.genesis import Genesis
    from cherrydag.runtime.evidence import FiledEvidence


@click.command()
@where_argument
@click.argument("files", metavar="[FILE]...", nargs=-1, type=PATH)
@signing_options
@json_option
def slash(
    where: Where,
    files: tuple[Path, ...],
    signing: Signing,
    as_json: bool,
) -> int:
    """Hand in evidence that an operator has signed two vertices under one number: a tenth of his bond is
    the reward, the rest is burned.

    FILE: equivocation-KEY.json, as a node writes it. Without any, all those in DIR whose operators still
    have a bond. Evidence counts once: of one who has no bond any more it is refused. What `evidence` shows of
    validators is never handed in: they have no bond.
    """
    from cherrydag.cli.reaching import reached
    from cherrydag.execution.bonds import BondKind
    from cherrydag.execution.evidence import encode_evidence

    code, told = Exit.OK, []
    with reached(where, signing.url, quiet=as_json, hands_in=True) as found:
        taken = _evidence(found, where, files)
        key = signing.key(found) if taken else None
        for path, shown in taken:
            if key is not None:
                body = encode_evidence(*shown.headers)
                done = operated(found, where, key, BondKind.SLASH, body, fee=signing.fee)
                told.append({"file": str(path), "operator": shown.issuer.hex()} | done)
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


def _evidence(found: "Reached", where: Where, files: Sequence[Path]) -> "list[tuple[Path, Evidence]]":
    """What is to be handed in, checked here: a fee is paid for what is refused, too."""
    from cherrydag.errors import ConfigError, Rejected
    from cherrydag.execution.evidence import Evidence, EvidenceRefusal
    from cherrydag.runtime.evidence import equivocations_in, read_equivocation

    check_has_bonds(found)
    if not files and isinstance(where, str):
        raise click.UsageError("FILE: needed with a URL")
    taken = []
    for path in files or (equivocations_in(where) if isinstance(where, Path) else ()):
        filed = read_equivocation(path)
        if filed.genesis_digest != found.genesis.digest:
            raise ConfigError(f"{path}: it is of another chain, {filed.genesis_digest.hex()}")
        if not isinstance(filed.evidence, Evidence):
            raise ConfigError(f"{path}: it is against a validator, who has no bond to lose")
        if not _is_signed(filed, found.genesis):
            raise Rejected(EvidenceRefusal.SIGNATURE, f"{path}: not both headers are signed by their issuer")
        taken.append((path, filed.evidence))
    if files:
        return taken
    return [one for one in taken if found.ledger.bond(one[1].issuer).bond is not None]


@click.command()
@folder_argument
@click.argument("files", metavar="[FILE]...", nargs=-1, type=PATH)
@json_option
def evidence(folder: Path, files: tuple[Path, ...], as_json: bool) -> int:
    """Print whom the node in DIR has seen sign two vertices where there may be one, each checked.

    FILE: evidence from elsewhere, instead of what is in DIR. Of an operator it costs the bond, by `slash`. Of
    a validator nothing in the ledger takes it: it is for those who decide on the next committee. Exit code 5
    if some of it proves nothing.
    """
    from cherrydag.cli.reaching import home_in
    from cherrydag.runtime.evidence import equivocations_in, read_equivocation, validator_equivocations_in

    genesis = home_in(folder).genesis
    paths = files or (*validator_equivocations_in(folder), *equivocations_in(folder))
    documents = [_document(path, read_equivocation(path), genesis) for path in paths]
    if as_json:
        print_json(documents)
    elif not documents:
        click.echo("there is no evidence against anybody")
    else:
        columns = ("against", "key", "two of", "proof", "file")
        print_table(columns, [_row(document) for document in documents])
    return Exit.OK if all(document["is_proof"] for document in documents) else Exit.REJECTED


def _document(path: Path, filed: "FiledEvidence", genesis: "Genesis") -> dict[str, Any]:
    """A file as JSON has it. name, key: None of a validator that the chain does not have."""
    from cherrydag.execution.evidence import Evidence

    found = filed.evidence
    is_proof = filed.genesis_digest == genesis.digest and _is_signed(filed, genesis)
    told: dict[str, Any] = {"file": str(path), "is_proof": is_proof}
    if isinstance(found, Evidence):
        return told | {"role": "operator", "name": None, "key": found.issuer.hex(), "seq": found.seq}
    key = found.key(genesis.committee())
    return told | {
        "role": "validator",
        "name": None if key is None else genesis.validators[found.author].name,
        "key": None if key is None else key.hex(),
        "round": found.round,
    }


def _row(document: dict[str, Any]) -> tuple[str, ...]:
    is_validator = document["role"] == "validator"
    return (
        f"validator {document['name'] or '?'}" if is_validator else "operator",
        document["key"] or "-",
        f"round {document['round']}" if is_validator else f"seq {document['seq']}",
        "yes" if document["is_proof"] else "no: of another chain, or not signed by this key",
        document["file"],
    )


def _is_signed(filed: "FiledEvidence", genesis: "Genesis") -> bool:
    from cherrydag.execution.evidence import Evidence

    if isinstance(filed.evidence, Evidence):
        return filed.evidence.is_signed(genesis.chain())
    return filed.evidence.is_signed(genesis.chain(), genesis.committee())


COMMANDS: Final = (slash, evidence)
