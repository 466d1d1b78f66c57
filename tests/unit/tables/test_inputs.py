"""The files that tables are made from."""

from types import SimpleNamespace

from mcoherence.tables import inputs


def test_labels_are_read_once_for_runs_that_share_them_and_anew_where_the_file_is_another(monkeypatch, tmp_path):
    path, read = tmp_path / "labels", []
    monkeypatch.setattr(inputs, "read_labels", lambda file: read.append(file.read_text()) or read[-1])
    run = SimpleNamespace(file=lambda results, name: f"{results}/{name}")
    path.write_text("one")
    assert [inputs.labels_of(str(tmp_path), run) for _ in range(3)] == ["one"] * 3
    path.unlink()
    path.write_text("other")
    assert inputs.labels_of(str(tmp_path), run) == "other"
    assert read == ["one", "other"]
