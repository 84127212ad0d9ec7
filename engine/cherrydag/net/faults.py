"""Why a connection ends: what a peer broke, or what we decided; either goes to the peer in a goodbye."""

from enum import StrEnum


class NetFault(StrEnum):
    """Which rule between connections a peer breaks; stable codes."""

    KIND = "net_kind"
    """A frame of no known kind, or of one that has no place in this state."""
    FRAME_SIZE = "net_frame_size"
    """A frame announces more than one of its kind may have."""
    HELLO = "net_hello"
    """A hello that is too short, too long, or says what none may say."""
    GOODBYE = "net_goodbye"
    """A goodbye whose code or text is not printable."""
    PING = "net_ping"
    """A ping or pong that is not one token, a pong to no ping, or a ping before the last one's pong."""
    VERSION = "net_version"
    """No protocol version is common."""
    CHAIN = "net_chain"
    """The peer is of another chain."""
    IDENTITY = "net_identity"
    """The hello's key is not the one that the peer has proven, or not the validator's that it names."""
    WRONG_KEY = "net_wrong_key"
    """Who answers at the address has another key than the node that was dialled."""
    SLOW_SENDER = "net_slow_sender"
    """A frame, or the hello, was not whole within its time."""
    SLOW_READER = "net_slow_reader"
    """The peer does not take what it is sent: a queue is full, or nothing leaves it."""
    SILENT = "net_silent"
    """Nothing came from the peer, not even a pong."""


class EndCode(StrEnum):
    """Ends that are no one's fault; stable codes."""

    SHUTDOWN = "end_shutdown"
    """The node stops, or the peer is no longer wanted."""
    SELF = "end_self"
    """The node has dialled itself."""
    SAME_KEY = "end_same_key"
    """Another process runs with this node's key."""
    DUPLICATE = "end_duplicate"
    """Another connection to the same peer is kept."""
    FULL = "end_full"
    """There is no room for another peer."""
    BANNED = "end_banned"
    """The peer was banned for what it did before."""
    LOST = "end_lost"
    """The connection broke without a goodbye."""
