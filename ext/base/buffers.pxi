# Buffer arguments for every .pyx: contiguous bytes of a stated row length, or a ShapeError.
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)

from cherrydag.errors import ShapeError


cdef class Buffer:
    """A held view of an object's bytes; released with the object.

    Takes bytes, bytearray, memoryview and numpy arrays of bytes (u1, V, S) or of records. Arrays of
    other numbers are refused, since their byte order and padding would be anybody's guess; hash them
    through .view('u1') if that is meant.
    """
    cdef Py_buffer view
    cdef bint held

    def __cinit__(self):
        self.held = False

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef const unsigned char *data(self) noexcept nogil:
        return <const unsigned char *>self.view.buf

    cdef unsigned char *writable(self) noexcept nogil:
        return <unsigned char *>self.view.buf

    cdef size_t size(self) noexcept nogil:
        return <size_t>self.view.len


cdef Buffer acquire(object source, str name, bint writable=False):
    cdef Buffer held = Buffer.__new__(Buffer)
    cdef int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0)
    try:
        PyObject_GetBuffer(source, &held.view, flags)
    except TypeError:
        raise TypeError(f"{name}: expected a bytes-like object, got {type(source).__name__}") from None
    except (BufferError, ValueError) as error:
        raise ShapeError(f"{name}: {error}") from None
    held.held = True
    cdef bytes kind = b"B" if held.view.format == NULL else <bytes>held.view.format
    if not (kind in (b"B", b"b", b"c", b"?") or kind.startswith(b"T{") or kind.endswith((b"x", b"s", b"p"))
            or (held.view.itemsize == 1)):
        raise ShapeError(f"{name}: expected bytes or records, got items of format {kind.decode()!r}")
    return held


cdef size_t rows(Buffer held, str name, size_t width) except? 0:
    """Number of rows of width bytes, or ShapeError."""
    if held.size() % width:
        raise ShapeError(f"{name}: {held.size()} bytes are not a whole number of {width}-byte rows")
    return held.size() // width
