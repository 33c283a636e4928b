from screening.chemistry.filters import parse_filter
from screening.status import Status, labels


def test_every_code_that_a_row_can_end_with_has_a_label():
    texts = labels([parse_filter("charge"), parse_filter("tau=4")])
    assert texts == {1: "ok", 2: "failed", 10: "filtered by charge", 11: "filtered by tau=4.0"}


def test_an_unwritten_row_is_no_end():
    assert Status.UNWRITTEN == 0
    assert Status.UNWRITTEN not in labels([])
