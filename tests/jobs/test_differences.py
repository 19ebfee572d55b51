"""What records of settings differ in."""

from hashlib import sha256

from jobs.differences import told_differences

ONE, OTHER = (sha256(data).hexdigest() for data in (b"1", b"2"))


def test_settings_are_told_by_name_and_only_those_that_differ() -> None:
    told = told_differences({"frames": 5, "seed": 0, "gone": 1}, {"frames": 3, "seed": 0, "new": None}, "then")
    assert told == ["frames: 5 then, 3 now", "gone: 1 then, None now"]
    assert told_differences({"frames": 5}, {"frames": 5}, "then") == []


def test_digests_are_short_and_said_to_be_of_files() -> None:
    before, now = {"corrector": ONE, "clips": f"7, {ONE}"}, {"corrector": None, "clips": f"7, {OTHER}"}
    assert told_differences(before, now, "in the store") == [
        "clips: 7, SHA-256 6b86b273ff34… in the store, 7, SHA-256 d4735e3a265e… now",
        "corrector: SHA-256 6b86b273ff34… in the store, None now",
        "a SHA-256 is of a file, or of all that was read: where it is another, files are",
    ]
