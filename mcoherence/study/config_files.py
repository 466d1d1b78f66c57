"""Config files as this project reads them: found, read and laid over each other, own entries in the default's place.

What the words in a file stand for is in `yaml_values`. This module is read when Snakemake parses the workflow.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcoherence.errors import UserError, meant, printable
from mcoherence.study.yaml_values import values_of_text

# Sections whose members are entries: one that a study's own file names takes the place of the default's of that name.
SECTIONS_OF_ENTRIES = ("datasets", "models", "labels", "optimizers")
# A file that says which entries label_noise combines says it of all its combinations, one that says how long training
# is of all entries.
COMBINATIONS, COMBINED, MORE_COMBINATIONS = "label_noise", frozenset(SECTIONS_OF_ENTRIES), "further"
TRAINING, LENGTH, OF_SINGLE_ENTRIES = "training", "updates", ("for_datasets", "for_models", "for_optimizers")
ARGUMENTS = "--config"  # as messages name what the command line gives
OF_CONFIG, UNKNOWN_KEY = "config: ", re.compile(r"found the unknown key '(.*?)'")  # what messages begin with, or say
LARGEST_BYTES = 2**22


@dataclass(frozen=True)
class StudyConfig:
    """The config of a study, and what of it is its own: all of it where the study is the default one.

    layers: what it is made of, the lowest first: a file as a message names it, or --config; its keys and values.
    """

    config: Mapping[str, Any]
    own: Mapping[str, Any]
    layers: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def in_its_file(self, message: str) -> str:
        """A message about a key of the config with the file that has the key, or in which it is to be written.

        A message about something else is returned as it is.
        """
        said = message.removeprefix(OF_CONFIG)
        key, colon, rest = said.partition(": ")
        path = () if key == "the config" else tuple(key.split("."))
        if not colon or (path and said == message and not any(path[0] in layer for _, layer in self.layers)):
            return message
        if unknown := UNKNOWN_KEY.match(rest):
            path = (*path, unknown[1])
        return f"{OF_CONFIG}{self._layer_of(path)}: {said}"

    def _layer_of(self, key: tuple[str, ...]) -> str:
        """The topmost layer that says what stands at a key; else the topmost file that has most of the way there."""
        found = next(name for name, _ in self.layers[::-1] if name != ARGUMENTS)
        deepest = 0
        for name, layer in self.layers[::-1]:
            depth, decided = _followed(layer, key)
            entry = depth >= 2 and key[0] in SECTIONS_OF_ENTRIES and name != ARGUMENTS  # it replaces those below
            if decided or entry:
                return name
            if depth > deepest:
                deepest, found = depth, name
        return found


def study_config(
    default: Path, files: Sequence[Path], arguments: Mapping[str, Any], replace_default: bool = False
) -> StudyConfig:
    """The config of a study: the default, over it its own files in their order, over these single values.

    Args:
        default: the file of the default study.
        files: of the study, as `--configfile` names them.
        arguments: what `--config` gives; mappings are joined key by key, entries too.
        replace_default: leave the default out, as `--replace-workflow-config` asks.

    Raises:
        UserError: a file cannot be read, or none of the files names the study.
    """
    given = [read_config(path) for path in files]
    if files and not any("study" in one for one in (*given, arguments)):
        raise UserError(
            f"config: {_shown(files[-1])}: found no study, expected a name of its own, so that it never writes into "
            "the results of another; add study: NAME"
        )
    below: dict[str, Any] = {} if replace_default and files else read_config(default)
    config = below
    own: dict[str, Any] = {} if files else config
    for one in given:
        config = over(config, one, entries=True)
        if not replace_default:  # else it is a whole config, what the study's own file says and what it does not
            own = over(own, one, entries=True)
    layers: list[tuple[str, Mapping[str, Any]]] = [] if replace_default and files else [(_shown(default), below)]
    layers += [(_shown(path), one) for path, one in zip(files, given, strict=True)]
    layers += [(ARGUMENTS, arguments)] if arguments else []
    return StudyConfig(over(config, arguments, entries=False), over(own, arguments, entries=False), tuple(layers))


def _followed(layer: Any, key: tuple[str, ...]) -> tuple[int, bool]:
    """How far a key leads into what a file says, and whether that decides what stands there, whatever lies below."""
    for depth, name in enumerate(key):
        if isinstance(layer, list) and name.isdecimal() and int(name) < len(layer):
            layer = layer[int(name)]
        elif isinstance(layer, Mapping) and name in layer:
            layer = layer[name]
        else:
            return depth, not isinstance(layer, Mapping)
    return len(key), bool(key)


def over(config: Mapping[str, Any], other: Mapping[str, Any], entries: bool) -> dict[str, Any]:
    """A config with another one over it: mappings are joined key by key, all else is replaced.

    What differs from something goes with it: `further` combinations of label_noise are left out where the other config
    has lists of its own, lengths of single entries where it has one for all.

    Args:
        config: what is below.
        other: what is above.
        entries: whether entries, such as those of `datasets`, are replaced too.

    Example:
        >>> default = {"datasets": {"digits": {"source": "digits", "train_size": 720}}}
        >>> over(default, {"datasets": {"digits": {"source": "mnist"}}}, entries=True)
        {'datasets': {'digits': {'source': 'mnist'}}}
    """
    joined = dict(config)
    for key, value in other.items():
        below = joined.get(key)
        if not (isinstance(below, Mapping) and isinstance(value, Mapping)):
            joined[key] = value
        elif entries and key in SECTIONS_OF_ENTRIES:
            joined[key] = {**below, **value}
        elif key == COMBINATIONS and COMBINED & value.keys():
            joined[key] = over(_without(below, MORE_COMBINATIONS), value, entries=False)
        elif key == TRAINING and LENGTH in value:
            joined[key] = over(_without_lengths(below), value, entries=False)
        else:
            joined[key] = over(below, value, entries=False)
    return joined


def with_homes(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config that its schema allows, with ~ and ~NAME at the beginning of every path as the home that they stand for.

    So files, their names and what is noted of them are those of the path written in full.

    Raises:
        UserError: there is no home of that name.
    """
    datasets = {
        name: {**entry, "root": _with_home(f"datasets.{name}.root", entry["root"])} if "root" in entry else entry
        for name, entry in config["datasets"].items()
    }
    folder = {"data_folder": _with_home("data_folder", config["data_folder"])} if "data_folder" in config else {}
    return {**config, **folder, "datasets": datasets}


def _with_home(key: str, path: str) -> str:
    full = os.path.expanduser(path)
    if full.startswith("~"):
        raise UserError(
            f"config: {key}: found {path}, expected ~ or the ~NAME of a user of this machine; write the path in full, "
            "or ./~NAME for a folder of that name"
        )
    return full


def _without(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != name}


def _without_lengths(training: Mapping[str, Any]) -> dict[str, Any]:
    """The section training without the numbers of updates of single data sets, networks and optimisers."""
    single = {}
    for key in OF_SINGLE_ENTRIES:
        entries = training.get(key)
        if isinstance(entries, Mapping):
            shorter = {
                name: _without(one, LENGTH) if isinstance(one, Mapping) else one for name, one in entries.items()
            }
            single[key] = {name: one for name, one in shorter.items() if one or not entries[name]}
    return {**training, **single}


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The keys and values of a config file, YAML or JSON.

    Raises:
        UserError: one line with file, line and key about what is there and is no config.
    """
    path = Path(path)
    where = f"config: {_shown(path)}"
    try:
        content = path.read_bytes() if path.stat().st_size <= LARGEST_BYTES else None
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}); expected a file in YAML") from error
    if content is None:
        raise UserError(f"{where}: found more than {LARGEST_BYTES} bytes, expected a config")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "a byte that is no UTF-8"
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}, line {line}: found {found}, expected UTF-8; save it as UTF-8") from error
    return values_of_text(text, where)


def _shown(path: Path) -> str:
    """A path as its user would write it: relative where it lies below the working directory."""
    relative = os.path.relpath(path)
    return printable(str(path) if relative.startswith("..") else relative)


SUFFIXES = (".yaml", ".yml", ".json")  # that Snakemake reads


def file_of_study(study: str, folder: Path = Path("studies")) -> Path:
    """The file that STUDY of the command line means: its own path, or by name a file of the folder.

    Raises:
        UserError: there is no such file; it says the nearest name.
    """
    path = Path(study) if "/" in study or Path(study).suffix in SUFFIXES else folder / f"{study}.yaml"
    if path.is_file():
        return path
    names = sorted(one.stem for one in folder.glob("*.yaml"))
    raise UserError(
        f"STUDY: found {study}{meant(path.stem, names)}, expected the path of a config file or the name of one in "
        f"{folder}/ ({', '.join(names)})"
    )


if __name__ == "__main__":  # before Snakemake, whose own loader reads the files of --configfile first
    try:
        for argument in sys.argv[1:]:
            file = file_of_study(argument)
            read_config(file)
            print(file)
    except UserError as error:
        sys.exit(f"error: {error}")
