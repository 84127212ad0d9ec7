"""Where a configuration comes from: default < file < environment < flags, key by key, and errors that say so.

A key is written section.name; in the file it is `name` under [section], in the environment
CHERRYDAG_SECTION_NAME with commas between the items of a list. A key that is not known is fatal.
"""

import dataclasses
import inspect
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from cherrydag.config import Config
from cherrydag.errors import ConfigError

FILE: Final = "config.toml"
"""Its name in a node's folder."""

FILE_BYTES_MAX: Final = 1 << 20
ENVIRONMENT: Final = "CHERRYDAG_"

DEFAULT: Final = "default"
FLAG: Final = "flag"

_SHOWN_CHARS: Final = 80


class Key(NamedTuple):
    """One thing that can be set. type: as msgspec takes it; text: what it means, '' if its section does."""

    name: str
    type: Any
    default: object
    text: str


class Setting(NamedTuple):
    """A key's value in force. origin: "default", "flag", a file, or a variable."""

    key: Key
    value: Any
    origin: str


class _Given(NamedTuple):
    """A value of one source. is_text: it spells what is meant."""

    name: str
    value: object
    origin: str
    is_text: bool = False


class Sources(NamedTuple):
    """What is given. file: that must be there, or None. values of flags: as TOML has them, or texts."""

    file: Path | None = None
    environment: Mapping[str, str] = {}
    flags: Mapping[str, object] = {}


class Loaded(NamedTuple):
    """A configuration, and where each value comes from, in the order of the keys."""

    config: Config
    settings: tuple[Setting, ...]


def load(sources: Sources) -> Loaded:
    """The configuration that the sources give. ConfigError names the key, the value and the bound."""
    keys = {key.name: key for key in known_keys()}
    settings = {name: Setting(key, key.default, DEFAULT) for name, key in keys.items()}
    of_file = _of_file(sources.file) if sources.file is not None else ()
    for given in chain(of_file, _of_environment(sources.environment, keys), _of_flags(sources.flags)):
        key = keys.get(given.name)
        if key is None:
            raise ConfigError(f"{given.origin}: {_unknown(given.name, keys)}")
        settings[given.name] = Setting(key, _converted(key, given), given.origin)
    return Loaded(_assembled(settings), tuple(settings.values()))


def file_in(folder: Path, given: Path | None = None) -> Path | None:
    """The file to read: the one that is given, or the folder's if it is there."""
    own = folder / FILE
    return given if given is not None else own if own.exists() else None


# Keys


def known_keys() -> Iterator[Key]:
    """All of them, section by section."""
    yield from _keys_of(Config, "")


def _keys_of(section: type, prefix: str) -> Iterator[Key]:
    if dataclasses.is_dataclass(section):
        kinds = get_type_hints(section)
        for item in dataclasses.fields(section):
            yield Key(f"{prefix}{item.name}", kinds[item.name], item.default, "")
        return
    for field in msgspec.structs.fields(section):
        if field.default_factory is not msgspec.NODEFAULT:
            yield from _keys_of(field.default_factory, f"{prefix}{field.encode_name}.")
            continue
        meta = getattr(field.type, "__metadata__", ())
        text = next((found.description for found in meta if found.description), "")
        yield Key(f"{prefix}{field.encode_name}", field.type, field.default, text)


def section_texts() -> dict[str, str]:
    """What each section is about."""
    found: dict[str, str] = {}

    def note(section: Any, name: str) -> None:
        doc = inspect.getdoc(section) or ""
        found[name] = doc.split("\n\nMemory,")[0]
        if not dataclasses.is_dataclass(section):
            for field in msgspec.structs.fields(section):
                if field.default_factory is not msgspec.NODEFAULT:
                    note(field.default_factory, f"{name}.{field.encode_name}".lstrip("."))

    note(Config, "")
    return found


def _unknown(name: str, keys: Mapping[str, Key]) -> str:
    near = get_close_matches(name, keys, 1, 0.6)
    if not near:  # the right name in the wrong section
        last = name.rpartition(".")[2]
        near = [key for key in keys if key.rpartition(".")[2] == last][:1]
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{_cut(name)}: unknown key{hint}"


# Sources


def _of_file(path: Path) -> Iterator[_Given]:
    try:
        with path.open("rb") as file:
            octets = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(octets) > FILE_BYTES_MAX:
        raise ConfigError(f"{path}: more than {FILE_BYTES_MAX} bytes")
    try:
        document = tomllib.loads(octets.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    sections = section_texts()
    yield from _leaves(document, "", str(path), sections)


def _leaves(
    table: Mapping[str, object], section: str, path: str, sections: Mapping[str, str]
) -> Iterator[_Given]:
    for name, value in table.items():
        whole = f"{section}.{name}".lstrip(".")
        if isinstance(value, dict) and whole in sections:
            yield from _leaves(value, whole, path, sections)
        elif whole in sections:
            raise ConfigError(f"{path}: [{whole}]: expected a section, got {_cut(value)}")
        elif isinstance(value, dict) and not section:
            near = get_close_matches(whole, [one for one in sections if one], 1, 0.6)
            hint = f"; did you mean [{near[0]}]?" if near else ""
            raise ConfigError(f"{path}: [{_cut(name)}]: unknown section{hint}")
        else:
            yield _Given(whole, value, path)


def _of_environment(environment: Mapping[str, str], keys: Mapping[str, Key]) -> Iterator[_Given]:
    names = {_variable(name): name for name in keys}
    prefixes = tuple(f"{ENVIRONMENT}{section.upper()}_" for section in section_texts() if section)
    for variable in sorted(environment):
        if variable in names:
            yield _Given(names[variable], environment[variable], variable, is_text=True)
        elif variable.startswith(prefixes):
            near = get_close_matches(variable, names, 1, 0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{variable}: unknown variable{hint}")


def _variable(name: str) -> str:
    return ENVIRONMENT + name.replace(".", "_").upper()


def _of_flags(flags: Mapping[str, object]) -> Iterator[_Given]:
    for name, value in flags.items():
        if value is not None:
            yield _Given(name, value, FLAG, is_text=isinstance(value, str))


# Values


def _converted(key: Key, given: _Given) -> Any:
    """The value as its key has it. Texts of the environment and of flags stand for what they spell."""
    value = given.value
    if given.is_text and _inner(key.type, tuple):
        value = [item.strip() for item in str(value).split(",") if item.strip()]
    try:
        return msgspec.convert(value, key.type, strict=not given.is_text)
    except msgspec.ValidationError as error:
        choices = _inner(key.type, Literal)
        words = f"Expected one of {', '.join(choices)}" if choices else str(error).replace("`", "")
        shown = f"'{_cut(value)}'" if isinstance(value, str) else _cut(value)
        raise ConfigError(f"{given.origin}: {key.name}: {words}, got {shown}") from error


def _inner(kind: Any, wanted: Any) -> tuple[Any, ...]:
    """The arguments of a type of this form, with its bounds or without; none if it is of another."""
    plain = getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind
    return get_args(plain) if get_origin(plain) is wanted else ()


def _assembled(settings: Mapping[str, Setting]) -> Config:
    tree: dict[str, Any] = {}
    for name, setting in settings.items():
        *sections, last = name.split(".")
        table = tree
        for section in sections:
            table = table.setdefault(section, {})
        table[last] = setting.value
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:  # a bound that a section checks itself
        words, _, place = str(error).partition(" - at ")
        section = place.strip("`$.")
        origins = {one.origin for name, one in settings.items() if name.startswith(f"{section}.")}
        named = ", ".join(sorted(origins - {DEFAULT}))
        raise ConfigError(f"{named}: [{section}]: {words}") from error


def _cut(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    shown = ascii(text)[1:-1] if isinstance(value, str) else ascii(value)
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}..."


# Writing


def dumps(settings: tuple[Setting, ...] | None = None) -> str:
    """A configuration as TOML, with what each key means. Values that are defaults stand in comments."""
    shown = settings or tuple(Setting(key, key.default, DEFAULT) for key in known_keys())
    texts, lines, last = section_texts(), ["# Every value that is not set has its default.", ""], ""
    for key, value, origin in shown:
        section, _, name = key.name.rpartition(".")
        if section != last:
            last = section
            lines += ["", *[f"# {line}".rstrip() for line in texts[section].splitlines()], f"[{section}]"]
        if key.text:
            lines.append(f"# {key.text}")
        lines.append(f"{'# ' if origin == DEFAULT else ''}{name} = {toml_text(value)}")
    return "\n".join(lines) + "\n"


def toml_text(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, int):
        return f"{value:_}"
    escaped = "".join(
        f"\\u{ord(char):04x}" if char < " " or char == "\x7f" else char
        for char in str(value).replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'
