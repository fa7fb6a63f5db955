"""What a watched stream is said to have done when a run hangs."""

from selvage.rtlsim.watch import Stream, Watch, told_hang


def test_since_is_the_last_change_of_a_stream() -> None:
    """However many changes there are."""
    watch = Watch([("a", True), ("b", False), ("c", True)])
    for now in range(20_000):
        valid = (now < 7) | (now & 1) << 1 | (now > 12_345) << 2
        watch.see(now, valid, 0b001)
    a, b, c = watch.streams()
    assert (a.valid, a.ready, a.since) == ("0", "1", 7)
    assert (b.valid, b.ready, b.since) == ("1", "0", 19_999)
    assert (c.valid, c.ready, c.since) == ("1", "0", 12_346)


def test_a_sentence_names_the_first_streams_and_counts_the_others() -> None:
    streams = [Stream(f"c_{k}", False, "1", "0", 100 - k) for k in range(5)]
    sentence = told_hang("for a reason", [*streams, Stream("o", True, "1", "1", 3), Stream("i", False, "0", "1", 2)])
    refused = "c_4 (since cycle 96), c_3 (since cycle 97), c_2 (since cycle 98) and 2 more"
    assert sentence == (
        f"the RTL hangs, for a reason: offered, and the RTL refuses {refused}; still moving o (since cycle 3)"
    )
