"""Config files: what YAML would take for something else without a word is refused in one line."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mcoherence.errors import UserError
from mcoherence.study.config_files import file_of_study, over, read_config, study_config, with_homes
from mcoherence.study.config_reference import Key, keys_below, resolved

ROOT = Path(__file__).parents[3]
CONFIG_FILES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]


def read(folder, content):
    path = folder / "own.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_config(path)


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: path.name)
def test_the_projects_own_files_mean_what_they_mean_to_pyyaml(path):
    assert read_config(path) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-2", -2),
        ("+1", 1),
        ("0", 0),
        ("1_000", 1000),
        ("1.0e+30", 1e30),
        (".inf", math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("nan", "nan"),
        ("2020-01-01", "2020-01-01"),
        ("module:function", "module:function"),
        ("'010'", "010"),
        ('"1:30"', "1:30"),
        ("!!str 010", "010"),
    ],
)
def test_words_stand_for(tmp_path, text, value):
    found = read(tmp_path, f"key: {text}\n")["key"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("study: a\nlabels: {}\nstudy: b\n", "line 3: study: found the key twice, in lines 1 and 3"),
        ("a:\n  b: 1\n  'b': 2\n", "line 3: a.b: found the key twice, in lines 2 and 3"),
        ("a: {sgd: {lr: 1, lr: 2}}", "line 1: a.sgd.lr: found the key twice, in lines 1 and 1"),
        ('{"a": 1,\n\t"a": 2}', "line 2: a: found the key twice, in lines 1 and 2"),
        ("training:\n  updates: 010", "line 2: training.updates: found 010, which YAML takes for octal"),
        ("a: [0o17]", "line 1: a.0: found 0o17, which YAML takes for octal"),
        ("a: -08", "line 1: a: found -08, which YAML takes for octal"),
        ("a: 1:30", "line 1: a: found 1:30, which YAML takes for base 60"),
        ("a: 1:30:00.5", "line 1: a: found 1:30:00.5, which YAML takes for base 60"),
        ("study: x\n".encode("utf-16"), "line 1: found UTF-16, expected UTF-8"),
        ("study: x\na: \u00e9\n".encode("latin-1"), "line 2: found a byte that is no UTF-8"),
        ("a: \0", "is no YAML"),
        ("a: &a [1, *a]", "line 1: a.1: found an alias to what it is part of"),
        ("a: &a {b: {c: *a}}", "line 1: a.b.c: found an alias to what it is part of"),
        ("a: &a {<<: *a}", "line 1: a.<<: found an alias to what it is part of"),
        ("a: " + "[" * 2000 + "]" * 2000, "found values nested too deeply"),
        ("a: " + "[" * 40 + "]" * 40, "line 1: a: found values nested too deeply"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"{x}: &{x} [{', '.join([f'*{y}'] * 10)}]\n" for x, y in zip("bcdefg", "abcdef", strict=True)),
            "found more than 100000 values, aliases written out",
        ),
        ("a: !!python/object/apply:os.system [ls]", "line 1: a: found the tag"),
        ("a: !!set {x}", "line 1: a: found the tag"),
        ("a: {3: b}", 'line 1: a: found 3 as a key; expected text; write "3"'),
        (
            "a: {3: 8}",
            'line 1: a: found 3 as a key; expected text; write "3": "8" where both are names, else "3": 8',
        ),
        ("a: {lr: 0,3}", "line 1: a.lr: found 0,3; expected a number with a decimal point and no comma; write 0.3"),
        ("a: {lr: 0,05, b: 1}", "line 1: a.lr: found 0,05; expected a number with a decimal point and no comma"),
        ("a: {n: 1,000}", "found 1,000; expected a number with a decimal point and no comma; write 1.000, or 1000 for"),
        ("true: 1", "line 1: top level: found true as a key"),
        ("? [a]\n: 1", "line 1: top level: found a key that is no text"),
        ("a:\n\tb: 1", "line 2: is no YAML"),
        ("a: {b: 1,\nc: 2\n", "line 1: is no YAML (found { without its end)"),
        ("a: {b: [1}\n", "line 1: is no YAML"),
        ("a: 'b\n", "line 1: is no YAML"),  # a file of one line has no line 2
        ("a: {b: #fff}", "line 1: found #fff without quotes, expected them around text with a #, which else begins a"),
        ("a: {b: 'x: #y',\nc: #fff}\nd: {e: 1}", "line 2: found #fff without quotes, expected them around text with"),
        ("a: [#fff, #eee]", 'a comment that hides the rest; write "#fff"'),
        ("a: *b", "line 1: is no YAML (found undefined alias 'b')"),
        ("a: 1\n---\nb: 2\n", "line 2: is no YAML (but found another document)"),
        ("- a\n", "found no keys with values"),
        ("", "found no keys with values"),
        ("a: " + "1" * 5000, "line 1: a: found a number of 5000 digits"),
    ],
)
def test_what_could_be_meant_otherwise_is_one_line(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith("config: own.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_merged_keys_and_json_are_taken(tmp_path):
    assert read(tmp_path, "\ufeffname: \u00e9\n") == {"name": "\u00e9"}
    merged = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {x: 5, z: 6}]}\n"
    assert read(tmp_path, merged) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2, "z": 6}}
    values = {"a": 1e-7, "b": [True, None], "c": float("inf")}
    assert read(tmp_path, json.dumps(values, indent="\t")) == values


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^config: .*none\.yaml: cannot be read \(No such file or directory\)"):
        read_config(tmp_path / "none.yaml")


DEFAULT = """
study: default
datasets: {digits: {source: digits, train_size: 720}, letters: {source: glyphs}}
training: {updates: 840, checkpoints: {every: 3, per_doubling: 2}}
experiments: [a, b]
"""


def config_of(folder, *texts, **arguments):
    files = []
    for number, text in enumerate((DEFAULT, *texts)):
        files.append(folder / f"{number}.yaml")
        files[-1].write_text(text)
    return study_config(files[0], files[1:], arguments)


def test_an_entry_takes_the_place_of_the_defaults_whole_and_sections_are_joined_key_by_key(tmp_path):
    own = "study: own\ndatasets: {digits: {source: cifar10}}\ntraining: {checkpoints: {every: 9}}\nexperiments: [a]\n"
    made = config_of(tmp_path, own)
    assert made.config == {
        "study": "own",
        "datasets": {"digits": {"source": "cifar10"}, "letters": {"source": "glyphs"}},
        "training": {"updates": 840, "checkpoints": {"every": 9, "per_doubling": 2}},
        "experiments": ["a"],
    }
    assert made.own == yaml.safe_load(own)


def test_later_files_are_on_top_of_earlier_ones_and_single_values_on_top_of_all(tmp_path):
    first, second = "study: first\ntraining: {updates: 1, batch_size: 1}\n", "training: {updates: 2}\n"
    config = config_of(
        tmp_path, first, second, datasets={"digits": {"train_size": 9}}, training={"batch_size": 3}
    ).config
    assert config["training"] == {"updates": 2, "batch_size": 3, "checkpoints": {"every": 3, "per_doubling": 2}}
    assert config["datasets"]["digits"] == {"source": "digits", "train_size": 9}


@pytest.mark.parametrize(
    ("own", "further"),
    [
        ({"seeds": [7]}, [{"models": ["cnn"]}]),  # the same combinations with another seed
        ({"models": ["mlp"], "seeds": [7]}, None),  # other combinations, and no more than are asked for
        ({"models": ["mlp"], "further": [{"seeds": [8]}]}, [{"seeds": [8]}]),
    ],
)
def test_further_combinations_of_the_file_below_go_with_its_lists(own, further):
    below = {"label_noise": {"models": ["mlp", "cnn"], "seeds": [0], "further": [{"models": ["cnn"]}]}}
    joined = over(below, {"label_noise": own}, entries=True)["label_noise"]
    assert joined.get("further") == further
    assert joined["seeds"] == own.get("seeds", [0])


@pytest.mark.parametrize(
    ("own", "single"),
    [
        ({"batch_size": 9}, {"cnn": {"updates": 600, "batch_size": 30}, "mlp": {"updates": 900}}),
        ({"updates": 12}, {"cnn": {"batch_size": 30}}),  # 12 for every network
        ({"updates": 12, "for_models": {"cnn": {"updates": 6}}}, {"cnn": {"updates": 6, "batch_size": 30}}),
    ],
)
def test_lengths_of_single_networks_of_the_file_below_go_with_its_length(own, single):
    below = {"updates": 900, "for_models": {"cnn": {"updates": 600, "batch_size": 30}, "mlp": {"updates": 900}}}
    assert over({"training": below}, {"training": own}, entries=True)["training"]["for_models"] == single


def test_a_study_has_a_name_of_its_own(tmp_path):
    with pytest.raises(UserError, match=r"1\.yaml: found no study, expected a name of its own.*add study: NAME"):
        config_of(tmp_path, "training: {updates: 1}\n")
    assert config_of(tmp_path, "training: {updates: 1}\n", study="given").config["study"] == "given"
    assert config_of(tmp_path, training={"updates": 1}).config["study"] == "default"


def test_the_default_can_be_left_out(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("study: own\n")
    assert study_config(ROOT / "config.yaml", [own], {}, replace_default=True).config == {"study": "own"}


OWN = """
study: own
datasets: {digits: {source: cifar10}}
training: {updates: 1, batch: 3}
experiments: [c]
trainning: {}
"""
# What is refused -> what says it: the default, 0.yaml; the study's own file, 1.yaml; or the command line.
PLACES = {
    "config: training.updates: found 1; expected 2": "1.yaml",
    "config: training.checkpoints.every: found 3; expected 4": "0.yaml",
    "config: training.lr: found 'x'; expected a number": "--config",
    "config: training: found the unknown key 'batch'; expected only the keys updates": "1.yaml",
    "config: training: found the unknown key 'lr' (did you mean x?); expected only the keys updates": "--config",
    "config: the config: found the unknown key 'trainning'; expected only the keys training": "1.yaml",
    "config: the config: found no key claims; expected all of claims": "1.yaml",
    "config: experiments.0: found 'c'; expected one of a, b": "1.yaml",  # a list takes the place of the list below
    "experiments: found c without a, expected both; add a": "1.yaml",
    "config: datasets.letters.source: found 'glyphs'; expected others": "0.yaml",
    "datasets.digits.train_size: found 9, expected more; raise it": "1.yaml",  # it replaces the default's entry whole
    "config: claims.near: found 1; expected more than 1": "1.yaml",  # nobody says it, so it is to be written there
}


@pytest.mark.parametrize(("message", "file"), PLACES.items(), ids=PLACES)
def test_what_is_refused_is_said_with_the_file_that_says_it(tmp_path, monkeypatch, message, file):
    monkeypatch.chdir(tmp_path)
    study = config_of(tmp_path, OWN, training={"lr": "x"})
    assert study.in_its_file(message) == f"config: {file}: {message.removeprefix('config: ')}"


def test_what_is_not_of_the_config_is_said_as_it_is(tmp_path):
    message = "photos/1.png: found no image that can be read, expected one of PNG; mend it"
    assert config_of(tmp_path, OWN).in_its_file(message) == message


def test_of_the_default_study_the_file_is_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = config_of(tmp_path)
    assert (
        study.in_its_file("config: claims.near: found 1; expected 2")
        == "config: 0.yaml: claims.near: found 1; expected 2"
    )


def test_what_lies_below_is_not_changed():
    below = {"training": {"updates": 1}}
    assert over(below, {"training": {"updates": 2}}, entries=True) == {"training": {"updates": 2}}
    assert below == {"training": {"updates": 1}}


def test_a_home_stands_for_the_same_path_written_in_full(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")

    def config(home):
        roots = {"photos": f"{home}/photos", "below": "photos", "named": "x/~"}
        return {
            "data_folder": f"{home}/data",
            "datasets": {name: {"source": "folder", "root": root} for name, root in roots.items()}
            | {"digits": {"source": "digits"}},
            "study": "~",
        }

    assert with_homes(config("~")) == config("/home/me") == with_homes(config("/home/me"))
    assert with_homes({"datasets": {}}) == {"datasets": {}}


def test_the_config_has_no_path_but_those_whose_home_is_known():
    """A new key whose value is a path goes into `with_homes`, and here."""
    schema = json.loads((ROOT / "schemas/config.schema.json").read_text())
    keys = {
        key.name
        for name in schema["properties"]
        for key in keys_below(Key((name,), resolved(schema["properties"][name], schema)), schema)
    }
    named = {
        key for key in {*keys, *schema["properties"]} if re.search(r"folder|path|root|file|dir", key.split(".")[-1])
    }
    assert named == {"data_folder", "datasets.NAME.root"}


def test_make_says_in_one_line_what_snakemake_could_not_read(tmp_path):
    (tmp_path / "own.yaml").write_bytes("study: own\n".encode("utf-16"))
    command = [sys.executable, "-m", "mcoherence.study.config_files", "own.yaml"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == "error: config: own.yaml, line 1: found UTF-16, expected UTF-8; save it as UTF-8\n"
    assert "python -m mcoherence.study.config_files '$(STUDY)'" in (ROOT / "Makefile").read_text()


def test_a_study_is_named_by_its_file_or_by_its_name_in_the_folder(tmp_path):
    for name in ("mnist.yaml", "cifar10.yaml"):
        (tmp_path / name).write_text("study: one\n")
    assert file_of_study("mnist", tmp_path) == tmp_path / "mnist.yaml"
    assert file_of_study(str(tmp_path / "cifar10.yaml"), tmp_path) == tmp_path / "cifar10.yaml"
    expected = rf"expected the path of a config file or the name of one in {tmp_path}/ \(cifar10, mnist\)$"
    for found, hint in (
        ("mnits", r" \(did you mean mnist\?\)"),
        ("elsewhere/minst.yml", r" \(did you mean mnist\?\)"),
        ("x", ""),
    ):
        with pytest.raises(UserError, match=rf"^STUDY: found {found}{hint}, {expected}"):
            file_of_study(found, tmp_path)


@pytest.mark.parametrize("target", ["study", "plan", "why"])
def test_make_runs_the_study_that_it_is_told_and_a_typo_is_one_line(target, tmp_path):
    """No set-up here: the recipes alone, of a Makefile whose environment is that of the tests."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/mine.yaml").write_text("study: mine\n")
    recipe = subprocess.run(
        ["make", "-n", "-f", ROOT / "Makefile", target, "STUDY=mine", "INSTALLED=Makefile"],
        cwd=ROOT, text=True, capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert '--configfile "$file"' in recipe
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / "mcoherence").symlink_to(ROOT / "mcoherence")
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    said = subprocess.run(
        ["make", target, "STUDY=mien", "INSTALLED=Makefile"], cwd=tmp_path, text=True, capture_output=True, check=False
    )
    assert said.returncode != 0
    first, *rest = said.stderr.splitlines()
    assert first.startswith("error: STUDY: found mien (did you mean mine?), expected ")
    assert len(rest) == 1  # make's own
