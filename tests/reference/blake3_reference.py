"""BLAKE3 from its specification, one word at a time: slow, obvious, and independent of ext/digest."""

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS_AND_DIAGONALS = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH, DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = (
    1 << bit for bit in range(7)
)
BLOCK, CHUNK, MASK = 64, 1024, 0xFFFFFFFF

Words = tuple[int, ...]


def to_words(data: bytes) -> Words:
    return tuple(int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4))


def to_bytes(words: Words) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def rotate_right(word: int, count: int) -> int:
    return (word >> count | word << (32 - count)) & MASK


def quarter_round(v: list[int], a: int, b: int, c: int, d: int, x: int, y: int) -> None:
    for message_word, first, second in ((x, 16, 12), (y, 8, 7)):
        v[a] = (v[a] + v[b] + message_word) & MASK
        v[d] = rotate_right(v[d] ^ v[a], first)
        v[c] = (v[c] + v[d]) & MASK
        v[b] = rotate_right(v[b] ^ v[c], second)


def compress(chaining: Words, block: bytes, counter: int, flags: int) -> Words:
    """The first eight words of a compression: all that a 32-byte digest needs."""
    v = [*chaining, *IV[:4], counter & MASK, counter >> 32, len(block), flags]
    message = to_words(block.ljust(BLOCK, b"\0"))
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(COLUMNS_AND_DIAGONALS):
            quarter_round(v, a, b, c, d, message[2 * i], message[2 * i + 1])
        message = tuple(message[i] for i in PERMUTATION)
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def chunk(key: Words, data: bytes, counter: int, flags: int, root: int) -> Words:
    blocks = [data[i : i + BLOCK] for i in range(0, len(data), BLOCK)] or [b""]
    chaining = key
    for i, block in enumerate(blocks):
        start = CHUNK_START if i == 0 else 0
        end = CHUNK_END | root if i == len(blocks) - 1 else 0
        chaining = compress(chaining, block, counter, flags | start | end)
    return chaining


def subtree(key: Words, data: bytes, counter: int, flags: int, root: int) -> Words:
    """Section 2.1: the left child takes the largest power of two of whole chunks that leaves a rest."""
    if len(data) <= CHUNK:
        return chunk(key, data, counter, flags, root)
    left_chunks = 1
    while 2 * left_chunks * CHUNK < len(data):
        left_chunks *= 2
    split = left_chunks * CHUNK
    left = subtree(key, data[:split], counter, flags, 0)
    right = subtree(key, data[split:], counter + left_chunks, flags, 0)
    return compress(key, to_bytes(left + right), 0, flags | PARENT | root)


def blake3_reference(data: bytes, *, key: bytes | None = None, context: str | None = None) -> bytes:
    """The 32-byte BLAKE3 of data: plain, keyed by 32 bytes, or deriving a key under a context."""
    words, flags = IV, 0
    if key is not None:
        words, flags = to_words(key), KEYED_HASH
    if context is not None:
        words, flags = subtree(IV, context.encode(), 0, DERIVE_KEY_CONTEXT, ROOT), DERIVE_KEY_MATERIAL
    return to_bytes(subtree(words, data, 0, flags, ROOT))
