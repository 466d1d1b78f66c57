"""The files that tables are made from."""

from types import SimpleNamespace

from mcoherence.tables import inputs


def test_labels_are_read_once_for_runs_that_share_them_and_anew_where_the_file_is_another(monkeypatch, tmp_path):
    path, read = tmp_path / "labels", []
    monkeypatch.setattr(inputs, "read_labels", lambda file: read.append(file.read_text()) or read[-1])
    run = SimpleNamespace(file=lambda results, name: f"{results}/{name}")
    path.write_text("one")
    assert [inputs.labels_of(str(tmp_path), run) for _ in range(3)] == ["one"] * 3
    (tmp_path / "new").write_text("two")  # as long, and in its place
    (tmp_path / "new").rename(path)
    assert inputs.labels_of(str(tmp_path), run) == "two"
    assert read == ["one", "two"]
    monkeypatch.setattr(inputs, "LARGEST_KEPT", 2)
    assert [inputs.labels_of(str(tmp_path), run) for _ in range(2)] == ["two"] * 2  # too large to be kept
    assert read == ["one", "two", "two", "two"]
