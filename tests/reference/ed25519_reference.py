"""Ed25519 by the ZIP-215 rule in big integers: slow, plain, and independent of the native code.

Points are extended coordinates (X, Y, Z, T) on -x^2 + y^2 = 1 + d x^2 y^2 over p = 2^255 - 19.
"""

import hashlib

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)

Point = tuple[int, int, int, int]
IDENTITY: Point = (0, 1, 1, 0)


def decode(encoding: bytes) -> Point | None:
    """The point, or None. y is taken mod p and "negative zero" is accepted, as ZIP-215 asks."""
    number = int.from_bytes(encoding, "little")
    sign, y = number >> 255, (number & (2**255 - 1)) % P
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    square = u * pow(v, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * SQRT_M1 % P
    if x * x % P != square:
        return None
    if x & 1 != sign:
        x = -x % P
    return (x, y, 1, x * y % P)


def encode(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def add(a: Point, b: Point) -> Point:
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    e = (x1 + y1) * (x2 + y2) - x1 * x2 - y1 * y2
    g, h = z1 * z2 - D * t1 * t2, y1 * y2 + x1 * x2
    f = z1 * z2 + D * t1 * t2
    return (e * g % P, f * h % P, g * f % P, e * h % P)


def negate(point: Point) -> Point:
    x, y, z, t = point
    return (-x % P, y, z, -t % P)


def multiply(scalar: int, point: Point) -> Point:
    result = IDENTITY
    for bit in f"{scalar:b}":
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def is_identity(point: Point) -> bool:
    return point[0] % P == 0 and (point[1] - point[2]) % P == 0


def _base_point() -> Point:
    point = decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    assert point is not None
    return point


BASE = _base_point()


def challenge(r: bytes, public_key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + public_key + message).digest(), "little") % ORDER


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    if len(public_key) != 32 or len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= ORDER:
        return False
    a, r = decode(public_key), decode(signature[:32])
    if a is None or r is None:
        return False
    k = challenge(signature[:32], public_key, message)
    difference = add(multiply(s, BASE), negate(add(r, multiply(k, a))))
    return is_identity(multiply(8, difference))


def torsion_points() -> list[Point]:
    """The eight points of order dividing 8, the identity first."""
    y = 2
    while True:
        point = decode(y.to_bytes(32, "little"))
        if point is not None:
            generator = multiply(ORDER, point)
            if not is_identity(multiply(4, generator)):
                return [multiply(i, generator) for i in range(8)]
        y += 1


def small_order_encodings() -> list[bytes]:
    """Every 32-byte string that decodes to a point of order dividing 8: canonical, y >= p, and with the
    sign bit set on x = 0. Fourteen of them."""
    found = set()
    for point in torsion_points():
        canonical = encode(point)
        number = int.from_bytes(canonical, "little")
        y = number & (2**255 - 1)
        for candidate in (y, y + P):
            if candidate < 2**255:
                for sign in (0, 1):
                    encoding = (candidate | sign << 255).to_bytes(32, "little")
                    decoded = decode(encoding)
                    if decoded is not None and is_identity(multiply(8, decoded)):
                        found.add(encoding)
    return sorted(found)
