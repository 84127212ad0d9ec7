"""Build the native extensions: one folder of ext/ is one module of cherrydag._native.

A folder ext/NAME holds NAME.pyx and its C files. A C file whose name ends in an instruction-set
suffix is compiled with that set's flags and reached only through run-time dispatch, so one binary
runs on every x86-64 machine; on other machines such a file compiles to nothing.

CHERRYDAG_SANITIZE=1 builds with AddressSanitizer, UndefinedBehaviorSanitizer and the VERIFY_CHECKs;
CHERRYDAG_MODULES=digest,wire builds only those modules.
"""

import os
import platform
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

EXT = Path("ext")
SANITIZE = bool(os.environ.get("CHERRYDAG_SANITIZE"))

ISA_FLAGS = {
    "_avx2": ["-mavx2"],
    "_avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"],
    "_ifma": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512ifma", "-mbmi2"],
}

# C code that a module uses from a neighbour's folder; the files are linked in.
LINKS = {
    "dagindex": ["digest"],
    "ed25519": ["digest"],
    "ledger": ["digest"],
    "statetree": ["digest"],
    "store": ["digest"],
}

# Libraries of the system that a module is linked with.
LIBRARIES = {"store": ["lmdb"]}

CFLAGS = ["-std=gnu11", "-O3", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wall", "-Wextra"]
LDFLAGS = ["-pthread"]
MACROS: list[tuple[str, str | None]] = []
if SANITIZE:
    CFLAGS += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    CFLAGS += ["-fno-omit-frame-pointer", "-g", "-O1"]
    LDFLAGS += ["-fsanitize=address,undefined"]
    MACROS.append(("CD_VERIFY", "1"))
else:
    CFLAGS += ["-g0"]


class BuildExt(build_ext):
    """build_ext that compiles each C file once, in parallel, with the flags which its name asks for.

    Modules share C files and so object files: two modules must not write the same one at a time.
    """

    def build_extensions(self) -> None:
        compile_now, link_now = self.compiler._compile, self.compiler.link_shared_object
        compiled: dict[str, Future[None]] = {}
        lock = Lock()

        def compile_later(
            obj: str, src: str, ext: str, cc_args: list[str], extra_postargs: list[str], pp_opts: list[str]
        ) -> None:
            flags = [*extra_postargs, *flags_of(Path(src))]
            with lock:
                if obj not in compiled:
                    compiled[obj] = pool.submit(compile_now, obj, src, ext, cc_args, flags, pp_opts)

        def link(objects: list[str], *args: Any, **options: Any) -> None:
            for obj in objects:
                compiled[obj].result()
            link_now(objects, *args, **options)

        self.compiler._compile, self.compiler.link_shared_object = compile_later, link
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            super().build_extensions()


def flags_of(source: Path) -> list[str]:
    if "cython" in source.parts:
        quiet = ("unused-function", "unused-parameter", "sign-compare", "cast-function-type")
        return [f"-Wno-{warning}" for warning in quiet]
    if platform.machine() not in ("x86_64", "AMD64"):
        return []
    return [flag for suffix, flags in ISA_FLAGS.items() if source.stem.endswith(suffix) for flag in flags]


def extensions() -> list[Extension]:
    base = sorted(str(p) for p in (EXT / "base").glob("*.c"))
    headers = sorted(str(p) for p in EXT.rglob("*.[hp]*") if p.suffix in (".h", ".pxi", ".pxd"))
    wanted = [name for name in os.environ.get("CHERRYDAG_MODULES", "").split(",") if name]
    modules = []
    for pyx in sorted(EXT.glob("*/*.pyx")):
        name = pyx.parent.name
        if wanted and name not in wanted:
            continue
        folders = [name, *LINKS.get(name, [])]
        sources = [str(p) for folder in folders for p in sorted((EXT / folder).glob("*.c"))]
        modules.append(
            Extension(
                f"cherrydag._native.{name}",
                sources=[str(pyx), *sources, *base],
                include_dirs=["ext"],
                libraries=LIBRARIES.get(name, []),
                depends=headers,
                define_macros=MACROS,
                extra_compile_args=CFLAGS,
                extra_link_args=LDFLAGS,
            )
        )
    return modules


setup(
    cmdclass={"build_ext": BuildExt},
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        include_path=["ext"],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": False,
            "freethreading_compatible": False,
        },
    ),
)
