"""What a node is to its chain: a validator, an operator, or one that follows and never signs."""

from typing import NamedTuple

from cherrydag.commit import Checkpoint, CheckpointCertificate, CheckpointSignature
from cherrydag.consensus.ports import SignMark
from cherrydag.errors import invariant
from cherrydag.primitives import PublicKey, ValidatorIndex
from cherrydag.runtime.books import Books
from cherrydag.runtime.home import Home
from cherrydag.signing import KeyPair, ValidatorSigner
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.sign_state import SignStateFile
from cherrydag.verify import EpochRules


class NeverSigned:
    """consensus.ports.SignState of a node that is no validator."""

    def load(self) -> SignMark | None:
        """Nothing."""
        return None

    def record(self, mark: SignMark) -> None:
        """InvariantViolation: it signs no vertex."""
        invariant(False, "only a validator signs vertices", mark=mark)

    def close(self) -> None:
        """Nothing is open."""


class Role(NamedTuple):
    """me: a validator's index. operator: an operator's key. Both None: it follows. sign_state: is open."""

    signer: ValidatorSigner
    sign_state: SignStateFile | NeverSigned
    me: ValidatorIndex | None = None
    operator: PublicKey | None = None

    def certificate(
        self, rules: EpochRules, books: Books, store: LmdbStore, agreed: CheckpointCertificate | None
    ) -> CheckpointCertificate | None:
        """Of the state that the trees stand for: the one agreed on, if it is of that state. A solo chain
        signs whatever state there is now."""
        if self.me is None or len(rules.committee) > 1:
            return agreed if agreed is not None and agreed.checkpoint.index == books.root_index else None
        newest = store.last_commit() if books.commit_index else None
        if newest is None or newest.index != books.commit_index:
            return None
        chain, epoch, root = rules.chain, rules.committee.epoch, books.root_now()
        checkpoint = Checkpoint(chain.genesis_digest, epoch, newest.index, newest.digest, root)
        signature = CheckpointSignature(self.me, self.signer.sign(checkpoint.signing_digest(chain)))
        return CheckpointCertificate(checkpoint, (signature,))


def role_of(home: Home, key: KeyPair, *, signs: bool, issues: bool) -> Role:
    """What the node of this key is. signs: as a validator, if it is one. issues: as an operator, if not.

    StorageError if it may have signed before and cannot tell what.
    """
    signer = ValidatorSigner(key)
    keys = [member.public_key for member in home.genesis.committee().members]
    if signs and key.public_key in keys:
        me = ValidatorIndex(keys.index(key.public_key))
        return Role(signer, home.sign_state(key.public_key), me=me)
    if issues:
        return Role(signer, home.sign_state(key.public_key), operator=signer.public_key)
    return Role(signer, NeverSigned())
