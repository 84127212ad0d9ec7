"""What nodes say to one another, as values."""

from dataclasses import dataclass
from typing import TypeAlias

from cherrydag.commit import Commit
from cherrydag.primitives import ValidatorIndex
from cherrydag.refs import AnyRef
from cherrydag.vertex import ValidatorVertex, Vertex


@dataclass(frozen=True, slots=True)
class Push:
    """A vertex that nobody asked for: the sender's own new one, or an operator's."""

    vertex: Vertex


@dataclass(frozen=True, slots=True)
class GetVertices:
    """Ask for vertices by reference; at most FETCH_REFS_MAX. Answered by Vertices with the same number."""

    number: int
    refs: tuple[AnyRef, ...]


@dataclass(frozen=True, slots=True)
class Vertices:
    """Those of the vertices asked for that the sender has; maybe none."""

    number: int
    vertices: tuple[Vertex, ...]


@dataclass(frozen=True, slots=True)
class GetCommits:
    """Ask for commits of the indices first..last, at most COMMIT_SYNC_BATCH. Answered by Commits."""

    number: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Commits:
    """Commits from `first` on, ascending, maybe fewer, and vertices whose commit votes certify the last."""

    number: int
    commits: tuple[Commit, ...]
    votes: tuple[ValidatorVertex, ...]


@dataclass(frozen=True, slots=True)
class GetNewest:
    """Ask for the newest vertex of this author that the receiver has ever accepted."""

    number: int
    author: ValidatorIndex


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest vertices of that author's highest round; none if there is none but genesis."""

    number: int
    author: ValidatorIndex
    vertices: tuple[ValidatorVertex, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """The sender has these vertices, and has not pushed them to the receiver; at most ANNOUNCE_REFS_MAX."""

    refs: tuple[AnyRef, ...]


@dataclass(frozen=True, slots=True)
class Graft:
    """Ask the receiver to push these now, at most GRAFT_REFS_MAX, and what is new from now on, if there is a
    validator's among them."""

    refs: tuple[AnyRef, ...]


@dataclass(frozen=True, slots=True)
class Prune:
    """Ask the receiver to announce what is new from now on, and to push it no more: another one does."""


Message: TypeAlias = (
    Push | GetVertices | Vertices | GetCommits | Commits | GetNewest | Newest | Announce | Graft | Prune
)
