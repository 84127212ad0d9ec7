"""SipHash-1-3 as its paper defines it, for messages of any length, in plain Python."""

WORD = 2**64 - 1


def rotated(x: int, by: int) -> int:
    return (x << by | x >> (64 - by)) & WORD


def sip_round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    a = (a + b) & WORD
    c = (c + d) & WORD
    b = rotated(b, 13) ^ a
    d = rotated(d, 16) ^ c
    a = rotated(a, 32)
    c = (c + b) & WORD
    a = (a + d) & WORD
    b = rotated(b, 17) ^ c
    d = rotated(d, 21) ^ a
    return a, b, rotated(c, 32), d


def siphash(seed: tuple[int, int], message: bytes) -> int:
    """The hash, 64 bits, of the message under two words of key."""
    start = b"somepseudorandomlygeneratedbytes"
    state = tuple(seed[i % 2] ^ int.from_bytes(start[8 * i : 8 * i + 8], "big") for i in range(4))
    whole = len(message) - len(message) % 8
    words = [int.from_bytes(message[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(message[whole:], "little") | len(message) % 256 << 56)
    for word in words:
        a, b, c, d = sip_round(state[0], state[1], state[2], state[3] ^ word)
        state = (a ^ word, b, c, d)
    state = (state[0], state[1], state[2] ^ 0xFF, state[3])
    for _ in range(3):
        state = sip_round(*state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]
