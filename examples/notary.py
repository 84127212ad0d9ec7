#!/usr/bin/env python3
"""Notarise files: several people sign a file's digest in the ledger, and anybody can check that later.

    python3 examples/notary.py sign FILE --url http://127.0.0.1:8645 --keystore KEYS --key ann --key bob
    python3 examples/notary.py check FILE --url http://127.0.0.1:8645

`sign` anchors the digest for all signers and writes FILE.notary.json: who signed, and the id of the last
signature. `check` needs the file and that certificate. It asks a node what the signature has done, and for
the proof that a vertex carries it, which is checked here. That the vertex is committed is the node's word:
ask one of your own, or several.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cherrydag.address import address_of
from cherrydag.client import Client
from cherrydag.errors import Rejected
from cherrydag.execution.anchor import AnchorKind, anchor_id_of, encode_anchor
from cherrydag.keystore import Keystore
from cherrydag.primitives import Address, Digest
from cherrydag.signing import KeyPair

EFFECTIVE = "anchor.effective"


def digest_of(path: Path) -> Digest:
    """SHA-256 of a file: whoever checks it later may have no other tool."""
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").digest())


def certificate_of(path: Path) -> Path:
    """Where the certificate of a file lies."""
    return path.with_name(f"{path.name}.notary.json")


def sign(client: Client, path: Path, keys: Sequence[KeyPair]) -> Path:
    """Anchor a file for all keys, each of which signs. Rejected if they have anchored it before."""
    digest = digest_of(path)
    signers = tuple(sorted(Address(address_of(key.public_key)) for key in keys))
    _finish(client, keys[0], AnchorKind.CREATE, encode_anchor(digest, signers))
    anchor_id = anchor_id_of(digest, signers)
    for key in keys:
        last = _finish(client, key, AnchorKind.SIGN, anchor_id)
    written = {"signers": [signer.hex() for signer in signers], "transaction": last.hex()}
    certificate = certificate_of(path)
    certificate.write_text(json.dumps(written, indent=2) + "\n")
    return certificate


def _finish(client: Client, key: KeyPair, kind: AnchorKind, body: bytes) -> bytes:
    """Its id, once it is final. Rejected, with the module's code, if it had no effect."""
    submission = client.operate(key, kind, body).wait()
    receipt = client.receipt(submission.id())
    operation = None if receipt is None else receipt.operation
    if operation is not None and operation.refusal:
        raise Rejected(operation.refusal, f"anchor: {operation.refusal}")
    return submission.id()


def check(client: Client, path: Path) -> str:
    """What can be said of a file. ValueError if it is not what was signed."""
    written = json.loads(certificate_of(path).read_text())
    signers = tuple(Address(bytes.fromhex(signer)) for signer in written["signers"])
    transaction_id = bytes.fromhex(written["transaction"])
    wanted = anchor_id_of(digest_of(path), signers)
    receipt, proof = client.receipt(transaction_id), client.inclusion(transaction_id)
    if receipt is None or receipt.operation is None or proof is None:
        raise ValueError("the chain knows no such signature")
    effective = [event for event in receipt.operation.events if event.name == EFFECTIVE]
    if [event.fields["anchor_id"] for event in effective] != [wanted]:
        raise ValueError("the file is not the one that was signed")
    return f"{path.name}: signed by all {len(signers)} as of commit {receipt.place.commit_index}"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if it was signed, or is what was signed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["sign", "check"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--keystore", type=Path)
    parser.add_argument("--key", action="append", default=[])
    options = parser.parse_args(arguments)
    with Client(options.url) as client:
        try:
            if options.what == "sign":
                keys = [Keystore(options.keystore).load(name, None) for name in options.key]
                print(f"certificate: {sign(client, options.file, keys)}")
            else:
                print(check(client, options.file))
        except (Rejected, ValueError) as error:
            print(f"{options.file}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
