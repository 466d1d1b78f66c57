"""A table of wrong command lines, files of weights and folders of images: each ends in one line, and this line."""

import importlib
import shlex
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from workflow_scripts.jobs import entry

from .conftest import QUICK

ROWS = yaml.safe_load(Path(__file__).with_name("bad_input.yaml").read_text())
NAMED = "--model command_user:net --weights weights.pt"
IMAGES = "--size 8 --resize 8"


def make_files(folder: Path) -> None:
    """Files of weights and folders of images that are wrong in a way of their own."""
    if (folder / "bad").exists():
        return
    bad = folder / "bad"
    bad.mkdir()
    state = torch.load(folder / "weights.pt", weights_only=True)
    (bad / "empty.pt").write_bytes(b"")
    (bad / "empty.safetensors").write_bytes(b"")
    (bad / "huge_header.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    (bad / "no_json.safetensors").write_bytes(struct.pack("<Q", 4) + b"\xff\xfe[[")
    header = b'{"0.weight":{"dtype":"F32","shape":[4000000000,3,3,3],"data_offsets":[0,4]}}'
    (bad / "huge_shape.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0\0\0")
    save_file(state, bad / "hostile.safetensors", {"model": '{"settings": {"architecture": "subprocess:run"}}'})
    save_file({f"{name}.x": value for name, value in state.items()}, bad / "renamed.safetensors")
    (bad / "text.pt").write_text("no weights")
    whole = (folder / "weights.pt").read_bytes()
    (bad / "cut.pt").write_bytes(whole[: len(whole) // 2])
    torch.save({name: list(map(str, value.flatten().tolist()[:2])) for name, value in state.items()}, bad / "texts.pt")
    torch.save(dict(state, **{"0.weight": state["0.weight"].to(torch.complex64)}), bad / "complex.pt")
    torch.save(dict(state, **{"0.weight": state["0.weight"].to_sparse()}), bad / "sparse.pt")
    torch.save({name: value.to("meta") for name, value in state.items()}, bad / "meta.pt")
    (folder / "bad_latin.py").write_bytes(
        "# Gr\u00fc\u00dfe\nfrom command_user import batches, net, half_of_square as loss\n".encode("latin-1")
    )
    pixels = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    for name in ("empty_image", "text_image", "eps", "bomb", "cut_image", "float_tiff"):
        for number in range(3):
            (bad / name / f"class{number}").mkdir(parents=True)
            pixels.save(bad / name / f"class{number}/{number}.png")
    (bad / "empty_image/class1/x.png").write_bytes(b"")
    (bad / "text_image/class1/x.png").write_text("<html>not found</html>")
    (bad / "eps/class1/x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    Image.new("1", (40000, 40000)).save(bad / "bomb/class1/x.png")
    whole = (bad / "cut_image/class1/1.png").read_bytes()
    (bad / "cut_image/class1/x.png").write_bytes(whole[:45])
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(bad / "float_tiff/class1/x.tif")
    (bad / "one_class/only").mkdir(parents=True)
    pixels.save(bad / "one_class/only/0.png")
    (bad / "no_images/class0").mkdir(parents=True)
    (bad / "no_images/class0/notes.txt").write_text("none yet")
    (bad / "flat").mkdir()
    pixels.save(bad / "flat/0.png")


def said(place, capsys, line: str, out: Path) -> list[str]:
    """The lines of errors of a command that failed, without the folder of the result."""
    words = shlex.split(line.format(named=NAMED, images=IMAGES))
    if words[:1] == ["python"]:
        module = importlib.import_module(words[2])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [words[2].rpartition(".")[2], *words[3:]])
            with pytest.raises(SystemExit) as leaving:
                entry.run(module.main)
        code = leaving.value.code
        text = code if isinstance(code, str) else capsys.readouterr().err
        assert code not in (0, None)
        return str(text).splitlines()
    if words[:1] in (["measure"], ["examples"]):
        given = [] if "--out" in words else ["--out", str(out / ("o.h5" if words[0] == "measure" else "o.csv"))]
        words = [words[0], *map(str, QUICK), *given, *words[1:]]  # of two equal options the later one counts
    try:
        status = place.run(*words)
    except SystemExit as leaving:
        status = leaving.code
    assert status == 1
    captured = capsys.readouterr()
    return (captured.out if words[0] == "verify" and captured.out else captured.err).splitlines()


@pytest.mark.parametrize(("line", "message"), ROWS, ids=[line[:70] for line, _ in ROWS])
def test_wrong_input_is_refused_in_this_line(place, capsys, tmp_path, line, message):
    make_files(place.folder)
    *_, last = said(place, capsys, line, tmp_path)
    if message.endswith("..."):
        assert last.startswith(message.removesuffix("..."))
    else:
        assert last.replace(str(place.folder), "HERE") == message
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_large():
    assert len({line for line, _ in ROWS}) == len(ROWS)
    assert len(ROWS) >= 80
