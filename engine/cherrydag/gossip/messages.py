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


Message: TypeAlias = Push | GetVertices | Vertices | GetCommits | Commits | GetNewest | Newest
