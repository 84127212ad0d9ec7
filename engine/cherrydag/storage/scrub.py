"""Looks for damage in the log before somebody needs what is damaged."""

from collections.abc import Iterable

from cherrydag.refs import AnyRef
from cherrydag.storage.schema import DamagedVertexError
from cherrydag.storage.vertex_reader import VertexReader


def scrub(reader: VertexReader, seqs: Iterable[int], bytes_max: int) -> list[AnyRef]:
    """Read vertices by sequence number, and find them in the indexes, until they have bytes_max in all.

    Returns the references of damaged vertices, which peers can give again. StorageError for other damage.
    """
    damaged = []
    size = 0
    for seq in seqs:
        try:
            ((_, vertex),) = reader.read([seq])
        except DamagedVertexError as error:
            damaged.append(error.ref)
            continue
        reader.check_indexes(seq, vertex.ref)
        size += len(vertex.header) + len(vertex.payload.octets) + len(vertex.payload.bodies)
        if size >= bytes_max:
            break
    return damaged
