"""Records that a run was given: read back as they were, from whatever place, or not at all."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.errors import UserError
from screening.store import StoredRun, draft, load_records, records, verify
from screening.store.place import open_place

LINES = [f'{{"id": "é{i}"}}'.encode() * (i % 5 + 1) for i in range(95)]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(records, "CHUNK_BYTES", 300)


def start(url, toy, lines=LINES):
    """A run of these records, one for each row."""
    given_ = draft(lines)
    header = replace(toy.header, records=given_.index.digest)
    with StoredRun.create(url, header, records=given_) as run:
        toy.finish(run)
    return header, given_


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.binary(max_size=200).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=30), st.data())
def test_records_are_read_back_in_any_part_and_order(lines, data):
    drafted = draft(lines)
    start_ = data.draw(st.integers(0, len(lines)))
    stop = data.draw(st.integers(start_, len(lines)))
    assert len(drafted) == len(lines)
    assert drafted.read(start_, stop) == lines[start_:stop]
    wanted = data.draw(st.lists(st.integers(0, len(lines) - 1), unique=True))
    assert list(drafted.pick(wanted)) == [(number, lines[number]) for number in sorted(wanted)]


def test_a_run_keeps_its_records_wherever_it_lies(toy, url):
    start(url, toy)
    kept = load_records(url)
    assert kept.read(0, 95) == LINES
    assert len(kept.index.counts) > 10
    assert verify(url, toy.identity).ok


@pytest.mark.parametrize("victim", [records.INDEX, records.chunk_key(3)])
def test_damaged_records_are_found_never_read_and_put_back(toy, url, victim):
    header, given_ = start(url, toy)
    place = open_place(url)
    whole = place.read(victim)
    for content in (whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], whole[:-9], b"", None):
        place.write({victim: content}) if content is not None else place.delete(victim)
        report = verify(url, toy.identity)
        assert {finding.kind for finding in report.findings} == {"records"}
        assert not report.ok
        with pytest.raises(UserError, match=r"Resume the run with the same input: that puts the records back"):
            load_records(url).read(0, 95)
        StoredRun.resume(url, header, records=given_).close()
        assert place.read(victim) == whole
        assert verify(url, toy.identity).ok


def test_other_records_are_another_run(toy, url):
    header, _ = start(url, toy)
    other = draft([*LINES[1:], LINES[0]])
    with pytest.raises(UserError, match="cannot resume, digest of the input: the run has"):
        StoredRun.resume(url, replace(header, records=other.index.digest), records=other)


def test_what_goes_wrong_with_the_input_leaves_no_file_open():
    def lines():
        yield b"one"
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        draft(lines())


def test_large_input_goes_to_a_file(monkeypatch):
    monkeypatch.setattr(records, "IN_MEMORY", 10)
    assert draft(LINES).read(90, 95) == LINES[90:]
