"""The section ``limits``: how much a server takes on, so that no peer can use it up."""

from typing import Annotated

from pydantic import Field

from scpd.config.kinds import RATE, size, whole_number
from scpd.config.section import Section
from scpd.config.values import GiB, KiB, MiB

_MOST_CONNECTIONS = 100_000
_LARGEST = 1024 * 1024 * GiB

Count = Annotated[int, whole_number(1, _MOST_CONNECTIONS)]


class LimitsConfig(Section):
    """Bounds per server; sizes in bytes."""

    associations: Count = Field(
        default=200,
        description="The most associations at one time (default 200): the next one is rejected as "
        "transient, local limit exceeded, since each takes a thread and a buffer.",
    )
    associations_per_address: Count = Field(
        default=50,
        description="The most associations at one time from one address (default 50), so that one "
        "machine out of control leaves room for the others.",
    )
    pending: Count = Field(
        default=256,
        description="The most connections without an association yet (default 256): a newer one "
        "drives out the oldest, so that connections that say nothing never keep anybody out.",
    )
    pending_per_address: Count = Field(
        default=64,
        description="The most connections without an association yet from one address (default 64), "
        "above which its own oldest is driven out, so that one machine cannot fill limits.pending.",
    )
    association_request: Annotated[int, size(4 * KiB, 16 * MiB)] = Field(
        default=MiB,
        description="The longest A-ASSOCIATE-RQ that is read, in bytes or with KiB, MiB (default 1MiB; "
        "4KiB to 16MiB): nobody is known yet when it comes, and an honest one takes some 100KiB.",
    )
    pdu_length: Annotated[int, size(4 * KiB, 16 * MiB)] = Field(
        default=256 * KiB,
        description="The longest P-DATA-TF PDU, announced to the peer and bounding what is buffered "
        "for it, in bytes or with KiB, MiB (default 256KiB; 4KiB to 16MiB).",
    )
    command_set: Annotated[int, size(KiB, 16 * MiB)] = Field(
        default=64 * KiB,
        description="The longest command set of a message, in bytes or with KiB, MiB (default 64KiB; "
        "1KiB to 16MiB): it is held in memory, and an honest one takes less than 1KiB.",
    )
    data_set: Annotated[int, size(KiB, _LARGEST)] = Field(
        default=8 * GiB,
        description="The longest data set of a message, in bytes or with KiB, MiB, GiB (default 8GiB; "
        "1KiB to 1048576GiB): a longer one is refused, so that one message cannot fill the disk.",
    )
    find_results: Annotated[int, whole_number(1, 100_000_000)] = Field(
        default=100_000,
        description="The most answers to one query (default 100000): a query that matches more ends with A700 after "
        "them, so that nobody asks for everything by mistake.",
    )
    minimum_rate: Annotated[int, size(0, GiB)] = Field(
        default=512,
        description="The least bytes per second that a message must make, averaged over "
        "timeouts.message (default 512; 0 is no such bound), so that a peer cannot hold a thread by "
        "sending a byte now and then.",
    )
    rate_per_address: Annotated[tuple[int, float], RATE] = Field(
        default=(0, 0.0),
        description="How many associations one address may ask for, as in 10/s or 100/m (default 0, no such bound): "
        "the next one is rejected as transient, local limit exceeded.",
    )
    rate_per_title: Annotated[tuple[int, float], RATE] = Field(
        default=(0, 0.0),
        description="How many associations one calling AE title may ask for, as in 10/s or 100/m (default 0, no such "
        "bound): the next one is rejected as transient, temporary congestion.",
    )
