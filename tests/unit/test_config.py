"""Settings: where they come from, which errors name what, and what must fit together."""

import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cherrydag.address import Network
from cherrydag.config import (
    DRAIN_MS_MAX,
    FILES_OWN,
    Config,
    Place,
    check,
    files_needed,
    listen_of,
    node_of,
    peers_listen,
    place_of,
)
from cherrydag.config_sources import FLAG, Sources, dumps, file_in, known_keys, load, toml_text
from cherrydag.daemon_options import options_of
from cherrydag.errors import ConfigError
from cherrydag.genesis import Allocation, Genesis, Validator
from cherrydag.overload import OverloadLimits
from cherrydag.primitives import Address, Amount, Stake, TimestampMs
from cherrydag.runtime.service_limits import ServiceLimits
from cherrydag.signing import generate_keypair

KEYS = [generate_keypair(bytes([i]) * 32).public_key for i in (1, 2)]
STRANGER = generate_keypair(b"\x09" * 32).public_key


def genesis(hosts: tuple[str, ...] = (), network: Network = Network.DEV) -> Genesis:
    """hosts: of the first validator."""
    validators = (Validator("v0", KEYS[0], Stake(1), hosts), Validator("v1", KEYS[1], Stake(1)))
    allocations = (Allocation(Address(b"\x01" * 20), Amount(10)),)
    return Genesis("test", network, TimestampMs(1), validators, allocations)


def of_text(tmp_path: Path, text: str, **sources: object) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(Sources(path, **sources)).config  # type: ignore[arg-type]


def config(**flags: object) -> Config:
    return load(Sources(flags={key.replace("__", "."): value for key, value in flags.items()})).config


# Sources


def test_without_sources_all_is_default():
    loaded = load(Sources())
    assert loaded.config == Config()
    assert {setting.origin for setting in loaded.settings} == {"default"}
    assert [setting.key.name for setting in loaded.settings] == [key.name for key in known_keys()]


def test_a_later_source_wins_key_by_key(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("[peers]\nothers_max = 1\n[node]\ndrain_ms = 1\nname = 'a'\n[log]\nrate = 1\n")
    environment = {"CHERRYDAG_PEERS_OTHERS_MAX": "2", "CHERRYDAG_NODE_DRAIN_MS": "2", "HOME": "/"}
    loaded = load(Sources(path, environment, {"peers.others_max": "3", "log.level": None}))
    found = {one.key.name: (one.value, one.origin) for one in loaded.settings if one.origin != "default"}
    assert found == {
        "node.name": ("a", str(path)),
        "node.drain_ms": (2, "CHERRYDAG_NODE_DRAIN_MS"),
        "peers.others_max": (3, FLAG),
        "log.rate": (1, str(path)),
    }
    assert (loaded.config.peers.others_max, loaded.config.node.drain_ms, loaded.config.log.rate) == (3, 2, 1)


def test_texts_of_the_environment_spell_lists_flags_and_numbers():
    environment = {
        "CHERRYDAG_API_HOSTS": "a.example, b.example",
        "CHERRYDAG_API_ORIGINS": "",
        "CHERRYDAG_STORE_PREFLIGHT": "false",
        "CHERRYDAG_API_LIMITS_BODY_BYTES": "4096",
        "CHERRYDAG_BACKEND": "of something else",
    }
    found = load(Sources(environment=environment)).config
    assert found.api.hosts == ("a.example", "b.example")
    assert found.api.origins == ()
    assert not found.store.preflight
    assert found.api.limits.body_bytes == 4096


def test_what_is_written_reads_back(tmp_path: Path):
    assert of_text(tmp_path, dumps()) == Config()
    loaded = load(Sources(flags={"api.hosts": ['a"\\\n'], "node.name": "x y", "store.preflight": "false"}))
    assert of_text(tmp_path, dumps(loaded.settings)) == loaded.config
    bare = [line.removeprefix("# ") for line in dumps().splitlines()]
    keys = [key.name.rpartition(".")[2] for key in known_keys()]
    assert all(any(line.startswith(f"{key} = ") for line in bare) for key in keys)


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (65536, "65_536"), (("a", 1), '["a", 1]'), ("\x1b", '"\\u001b"')]
)
def test_values_as_toml(value: object, text: str):
    assert toml_text(value) == text


def test_the_folders_file_is_taken_if_it_is_there(tmp_path: Path):
    assert file_in(tmp_path) is None
    (tmp_path / "config.toml").touch()
    assert file_in(tmp_path) == tmp_path / "config.toml"
    assert file_in(tmp_path, tmp_path / "other") == tmp_path / "other"


# Errors


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[peers]\nlistne = 'x'", "peers.listne: unknown key; did you mean peers.listen?"),
        ("[api]\nothers_max = 3", "api.others_max: unknown key; did you mean peers.others_max?"),
        ("[peer]\nlisten = 'x'", r"\[peer\]: unknown section; did you mean \[peers\]?"),
        ("colour = 3", "colour: unknown key$"),
        ("api = 3", r"\[api\]: expected a section, got 3"),
        ("[peers]\nothers_max = '7'", "peers.others_max: Expected int, got str, got '7'"),
        ("[peers]\nothers_max = true", "peers.others_max: Expected int, got bool, got True"),
        ("[peers]\nseeds = 'x'", "peers.seeds: Expected array, got str, got 'x'"),
        (
            "[node]\nrole = 'king'",
            "node.role: Expected one of auto, validator, operator, observer, got 'king'",
        ),
        ('[node]\nname = "\\u001b[31m"', r"node.name: .* got '\\x1b\[31m'"),
        ("[api.limits]\nbody_bytes = 0", r"\[api.limits\]: rpc.body_bytes: expected at least 1, got 0"),
        ("[mempool]\nsender_max = 0", r"\[mempool\]: .*sender_max: expected 1"),
        ("[peers\n", "Expected ']'"),
    ],
)
def test_a_wrong_file_is_refused_by_its_place_and_value(tmp_path: Path, text: str, words: str):
    with pytest.raises(ConfigError, match=words) as refused:
        of_text(tmp_path, text)
    assert str(tmp_path / "config.toml") in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"CHERRYDAG_PEERS_LISTNE": "1"},
            "CHERRYDAG_PEERS_LISTNE: unknown variable; did you mean CHERRYDAG_",
        ),
        ({"CHERRYDAG_LOG_RATE": "x"}, "CHERRYDAG_LOG_RATE: log.rate: Expected int"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(environment: dict[str, str], words: str):
    with pytest.raises(ConfigError, match=words):
        load(Sources(environment=environment))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        load(Sources(tmp_path / "none"))
    path = tmp_path / "config.toml"
    path.write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match="utf-8"):
        load(Sources(path))
    path.write_bytes(b"#" * (1 << 20))
    assert load(Sources(path)).config == Config()
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="more than 1048576 bytes"):
        load(Sources(path))


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [
        ("node.drain_ms", 0, DRAIN_MS_MAX),
        ("peers.others_max", 0, 4096),
        ("ledger.verify_threads", 0, 256),
        ("log.rate", 1, 1_000_000),
        ("overload.vertex_ms", 10, 10_000),
        ("overload.wait_ms", 10, 60_000),
        ("overload.patience_ms", 1, 60_000),
        ("overload.funding_ms", 0, 60_000),
        ("timing.leader_timeout_ms", 50, 10_000),
        ("timing.min_round_delay_ms", 0, 5000),
        ("timing.idle_round_delay_ms", 100, 60_000),
    ],
)
def test_bounds(key: str, least: int, most: int):
    for value in (least, most):
        load(Sources(flags={key: value}))
    for value in (least - 1, most + 1):
        with pytest.raises(ConfigError, match=f"{key}: Expected int .*got {value}"):
            load(Sources(flags={key: value}))


# Values with parts


def test_places():
    assert place_of("k", "a.example:80") == Place("a.example", 80)
    assert place_of("k", "[::1]:65535") == Place("::1", 65535)
    assert place_of("k", "[::1]:65535").text == "[::1]:65535"
    assert listen_of("k", "") is None
    for text in ("", "80", ":80", "a:", "a:x", "::1:80", "a:65536", "a:-1", "a:٣", "a:000080"):
        with pytest.raises(ConfigError, match=r"^k: expected"):
            place_of("k", text)
    with pytest.raises(ConfigError, match="a port from 1 to"):
        place_of("k", "a:0", port_min=1)
    with pytest.raises(ConfigError, match=r"^k: expected an IP address"):
        listen_of("k", "localhost:80")


def test_nodes():
    assert node_of("k", f"{KEYS[0].hex()}@h:1") == (KEYS[0], Place("h", 1))
    for text in ("", "h:1", f"{KEYS[0].hex()[2:]}@h:1", f"{KEYS[0].hex()}@h:0", f"{'zz' * 32}@h:1"):
        with pytest.raises(ConfigError, match=r"^k: expected"):
            node_of("k", text)


# What fits together


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"node__role": "validator"}, "node.role: 'validator', but"),
        ({"peers__seeds": "x@h:1"}, "peers.seeds: expected 64 hex"),
        ({"peers__known": "x@h:1"}, "peers.known: expected 64 hex"),
        ({"peers__advertise": "h:0"}, "peers.advertise: expected a port from 1"),
        ({"peers__listen": "h:7"}, "peers.listen: expected an IP address"),
        ({"peers__listen": "127.0.0.1:7", "api__listen": "127.0.0.1:7"}, "api.listen: 127.0.0.1:7 is where"),
        ({"peers__listen": "0.0.0.0:7", "api__listen": "127.0.0.1:7"}, "api.listen: 127.0.0.1:7 is where"),
        ({"api__listen": "0.0.0.0:7"}, "api.hosts: needed"),
        ({"api__origins": "*"}, "api.origins: .* no wildcard"),
        ({"faucet__key": "A b"}, "faucet.key: expected the name"),
        ({"store__map_bytes": 0}, "store.map_bytes: expected at least 1"),
        ({"store__map_bytes": 2, "store__map_bytes_max": 1}, "store.map_bytes: expected at most"),
        ({"overload__wait_ms": 349}, "overload.wait_ms: expected at least overload.vertex_ms, 350, got 349"),
        ({"timing__min_round_delay_ms": 5000}, "timing.min_round_delay_ms: expected at most"),
    ],
)
def test_what_does_not_fit_is_refused(flags: dict[str, object], words: str):
    with pytest.raises(ConfigError, match=words):
        check(config(**flags), genesis(), STRANGER)


def test_what_fits_is_taken():
    for flags in (
        {"node__role": "validator"},
        {"peers__listen": "127.0.0.1:7", "api__listen": "127.0.0.1:8"},
        {"peers__listen": "127.0.0.1:0", "api__listen": "127.0.0.1:0"},
        {"peers__listen": "127.0.0.2:7", "api__listen": "127.0.0.1:7"},
        {"api__listen": "0.0.0.0:7", "api__hosts": "a.example"},
        {"faucet__key": "treasury"},
        {"overload__wait_ms": 350},
    ):
        check(config(**flags), genesis(("h:1",)), KEYS[0])


def test_what_is_said_of_an_overload_reaches_the_service():
    home: Any = SimpleNamespace(genesis=genesis())
    given = config(
        overload__vertex_ms=11, overload__wait_ms=22, overload__patience_ms=33, overload__funding_ms=44
    )
    limits = options_of(given, home, generate_keypair(bytes(32))).ledger.service
    assert limits.overload == OverloadLimits(vertex_ms=11, wait_ms=22, patience_ms=33)
    assert limits.funding_ms == 44
    assert options_of(config(), home, generate_keypair(bytes(32))).ledger.service == ServiceLimits()


@pytest.mark.parametrize("is_served", [False, True])
def test_whether_the_explorer_is_served_reaches_the_api(tmp_path: Path, is_served: bool):
    home: Any = SimpleNamespace(genesis=genesis())
    path = tmp_path / "config.toml"
    path.write_text(f"[api]\nexplorer = {str(is_served).lower()}\n")
    for sources in (Sources(file=path), Sources(flags={"api.explorer": str(is_served).lower()})):
        api = options_of(load(sources).config, home, generate_keypair(bytes(32))).api
        assert api is not None and api.explorer is is_served
    api = options_of(Config(), home, generate_keypair(bytes(32))).api
    assert api is not None and api.explorer


def test_an_operator_is_no_validator():
    check(config(node__role="operator"), genesis(), STRANGER)
    with pytest.raises(ConfigError, match="cannot be both"):
        check(config(node__role="operator"), genesis(), KEYS[0])


def test_a_faucet_is_for_networks_whose_coins_are_worth_nothing():
    check(config(faucet__key="treasury"), genesis(), STRANGER)
    with pytest.raises(ConfigError, match=r"faucet.key: only on the network"):
        check(config(faucet__key="treasury"), genesis(network=Network.MAIN), STRANGER)


def test_a_validator_listens_where_the_genesis_says_unless_it_is_told():
    own = genesis(("127.0.0.1:71",)).validators[0]
    assert peers_listen(Config(), own) == ("127.0.0.1", 71)
    assert peers_listen(Config(), genesis(("a.example:71",)).validators[0]) == ("0.0.0.0", 71)
    assert peers_listen(Config(), genesis().validators[0]) == ("127.0.0.1", 0)
    assert peers_listen(Config(), None) == ("127.0.0.1", 0)
    assert peers_listen(config(peers__listen="127.0.0.1:5"), own) == ("127.0.0.1", 5)
    assert peers_listen(config(peers__listen=""), own) is None


def test_few_files_are_said_and_too_few_refused(monkeypatch: pytest.MonkeyPatch):
    needed, least = files_needed(Config(), 2), FILES_OWN + 2 * 2

    def warnings(hard: int) -> tuple[str, ...]:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (64, hard))
        return check(Config(), genesis(("127.0.0.1:7",)), KEYS[0])

    assert warnings(needed) == ()
    assert warnings(resource.RLIM_INFINITY) == ()
    assert "clients are turned away first" in warnings(needed - 1)[0]
    assert len(warnings(least)) == 1
    with pytest.raises(ConfigError, match=f"{least} are needed for 2 validators"):
        warnings(least - 1)


def test_what_may_surprise_is_told():
    (told,) = check(config(node__role="observer"), genesis(("h:1",)), KEYS[0])
    assert "validator v0's, which signs nothing here" in told
    (told,) = check(Config(), genesis(), KEYS[0])
    assert told.startswith("peers.listen: nobody outside")
