"""The database as a whole, for reading: whose it is, whether its tables fit each other, and its readers."""

from cherrydag._native.store import Store
from cherrydag.errors import StorageError
from cherrydag.storage.commit_reader import CommitReader
from cherrydag.storage.entry import BYTES_PER_READ, bounds_of, name_of, sound
from cherrydag.storage.schema import IDENTITY, IDENTITY_KEY, SCHEMA_VERSION, Identity, Table
from cherrydag.storage.vertex_reader import VertexReader


class Reader:
    """Reads an open native store: what is durable."""

    __slots__ = ("_native", "commits", "vertices")

    def __init__(self, native: Store) -> None:
        self._native = native
        self.vertices = VertexReader(native)
        self.commits = CommitReader(native)

    def identity(self) -> Identity:
        """Whose database it is. StorageError if this code cannot tell, or its layout is another one."""
        entries, _ = self._native.keys(Table.META, IDENTITY_KEY, len(IDENTITY_KEY), BYTES_PER_READ)
        if not entries:
            raise StorageError("the database does not say whose it is")
        value = sound(Table.META, entries[0])
        version = int.from_bytes(value[:4], "little")
        if version != SCHEMA_VERSION or len(value) != IDENTITY.size:
            raise StorageError(f"the database has schema version {version}, this code {SCHEMA_VERSION}")
        return Identity(*IDENTITY.unpack(value)[1:])

    def count(self, table: Table) -> int:
        """Entries of a table."""
        return self._native.table(table)[0]

    def pages(self, table: Table) -> int:
        """Pages of a table."""
        return self._native.table(table)[1]

    def free_pages(self) -> tuple[int, int]:
        """(bytes of a page, pages of the database that hold nothing)."""
        return self._native.pages()

    def check_counts(self) -> None:
        """StorageError unless tables have as many entries as their keys say, and outcomes their commits."""
        vertices, commits = self.vertices.next_seq(), bounds_of(self._native, Table.COMMITS)
        outcomes = bounds_of(self._native, Table.RESULTS)
        expected = {
            Table.VERTICES: vertices,
            Table.VERTEX_DIGEST: vertices,
            Table.VERTEX_ROUND: vertices,
            Table.COMMITS: commits[1] - commits[0] + 1 if commits else 0,
            Table.RESULTS: outcomes[1] - outcomes[0] + 1 if outcomes else 0,
        }
        for table, entries in expected.items():
            if self.count(table) != entries:
                raise StorageError(f"{name_of(table)}: {self.count(table)} entries, expected {entries}")
        if outcomes and not (commits and commits[0] <= outcomes[0] <= outcomes[1] <= commits[1]):
            raise StorageError(f"{name_of(Table.RESULTS)}: outcomes of {outcomes}, but commits of {commits}")
