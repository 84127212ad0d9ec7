"""Rows of a submission on their way into the mempool."""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag.crypto import DIGEST_BYTES
from cherrydag.payload import body_offsets
from cherrydag.transaction import Records, Words

Mask: TypeAlias = npt.NDArray[np.bool_]


class Slice(NamedTuple):
    """n rows of a submission: their numbers, records, n x 32 bytes of ids, and the bodies end to end."""

    rows: Words
    records: Records
    ids: bytes
    bodies: bytes

    def kept(self, mask: Mask) -> "Slice":
        """Those in a mask."""
        records = self.records[mask]
        ids = np.frombuffer(self.ids, np.uint8).reshape(-1, DIGEST_BYTES)[mask].tobytes()
        bodies = self.bodies
        if bodies:
            offsets = body_offsets(self.records, len(bodies))
            if offsets is not None:
                spans = [(int(offsets[at]), int(offsets[at + 1])) for at in np.flatnonzero(mask).tolist()]
                bodies = b"".join(bodies[start:stop] for start, stop in spans)
        return Slice(self.rows[mask], records, ids, bodies)
