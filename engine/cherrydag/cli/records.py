"""Transactions as commands show them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cherrydag.genesis import Genesis
    from cherrydag.transaction import Records


def record_documents(records: "Records", genesis: "Genesis") -> list[dict[str, Any]]:
    """Records field by field, as JSON has them; recipient: None for an operation that has none."""
    from cherrydag.address import address_of, encode_address
    from cherrydag.cli.names import kind_name
    from cherrydag.primitives import Address, PublicKey
    from cherrydag.transaction import amounts

    network = genesis.network
    return [
        {
            "kind": kind_name(int(record["kind"]), genesis.modules),
            "kind_number": int(record["kind"]),
            "sender": encode_address(address_of(PublicKey(record["sender"].tobytes())), network),
            "recipient": encode_address(Address(record["recipient"].tobytes()), network)
            if record["recipient"].any()
            else None,
            "asset": int(record["asset"]),
            "amount": str(amount),
            "fee": str(record["fee"]),
            "nonce": int(record["nonce"]),
        }
        for record, amount in zip(records, amounts(records), strict=True)
    ]
