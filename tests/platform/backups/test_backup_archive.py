"""An archive is checked whole before it is used: names, checksums, format, schema, end."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roost_platform.backups.archive import MANIFEST, MARK, extract
from roost_platform.backups.backup import backup
from roost_platform.backups.restore import restore
from roost_platform.errors import BackupRefused
from roost_platform.settings.config import Settings, load_settings

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
async def archive(sqlite_url: str, tmp_path: Path) -> Path:
    """A backup of a database without rows, and of one key."""
    data = tmp_path / "old"
    (data / "files").mkdir(parents=True)
    (data / "files" / "one").write_bytes(b"photo" * 1000)
    (data / "api-token").write_text("roost_t")
    environ = {"ROOST_DATA_DIR": str(data), "ROOST_DATABASE__URL": sqlite_url}
    await backup(load_settings(environ=environ), tmp_path / "x.roost")
    return tmp_path / "x.roost"


@pytest.fixture
def new(tmp_path: Path) -> Settings:
    return load_settings(environ={"ROOST_DATA_DIR": str(tmp_path / "new")})


def members_of(archive: Path) -> Members:
    with tarfile.open(archive) as tar:
        return [(info, (tar.extractfile(info) or io.BytesIO()).read()) for info in tar]


def write(archive: Path, members: Members) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for info, content in members:
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def manifest_with(members: Members, change: Callable[[dict[str, Any]], object]) -> Members:
    info, content = members[-1]
    assert info.name == MANIFEST
    fields = json.loads(content)
    change(fields)
    return [*members[:-1], (info, json.dumps(fields).encode())]


def a_file(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Members:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return [(info, b"" if target or kind == tarfile.DIRTYPE else b"x")]


def left_nothing(new: Settings) -> bool:
    inside = {path.name for path in new.data_dir.iterdir()} if new.data_dir.exists() else set()
    return inside <= {"roost.lock"}


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "data/../../outside",
        "/tmp/outside",
        "data/./x",
        "data//x",
        "data/..",
        "data\\x",
        "other/x",
        "outside",
        "data/run.json",
        "data/run/web.settings.json",
        "data/roost.db",
        "data/roost.lock",
        "data/before-restore-1/x",
        "tables/x/y.jsonl",
        "tables/unlisted.jsonl",
        "data/" + "x" * 2000,
    ],
)
async def test_a_name_that_leads_elsewhere_is_refused(
    archive: Path, new: Settings, name: str
) -> None:
    members = members_of(archive)
    added = [*members[:-1], *a_file(name), members[-1]]
    one = {"size": 1, "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}
    write(archive, manifest_with(added, lambda fields: fields["members"].update({name: one})))
    with pytest.raises(BackupRefused):
        await restore(new, archive)
    assert left_nothing(new)
    assert not (new.data_dir.parent / "outside").exists()


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "data/api-token"),
        (tarfile.DIRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.CHRTYPE, ""),
    ],
)
async def test_links_and_devices_are_refused(
    archive: Path, new: Settings, kind: bytes, target: str
) -> None:
    members = members_of(archive)
    write(archive, [*members[:-1], *a_file("data/x", kind, target), members[-1]])
    with pytest.raises(BackupRefused, match="not a plain file"):
        await restore(new, archive)
    assert left_nothing(new)


async def test_what_is_damaged_missing_added_or_doubled_is_named(
    archive: Path, new: Settings
) -> None:
    whole = members_of(archive)
    at = next(i for i, (info, _) in enumerate(whole) if info.name == "data/api-token")
    cases = {
        "checksum is wrong": [*whole[:at], (whole[at][0], b"roost_x"), *whole[at + 1 :]],
        "lacks 'data/api-token'": [*whole[:at], *whole[at + 1 :]],
        "does not name": [*whole[:-1], *a_file("data/extra"), whole[-1]],
        "twice": [*whole[:-1], whole[at], whole[-1]],
        "list of contents is missing": whole[:-1],
        "behind its list": [*whole, *a_file("data/extra")],
        "not a backup that Roost made": whole[1:],
        "format 99": [(whole[0][0], b"99\n"), *whole[1:]],
        "can't be read": [*whole[:-1], (whole[-1][0], b"[[[")],
        "does not know": manifest_with(whole, lambda fields: fields.update(revision="9999")),
        "tables are not those": manifest_with(whole, lambda fields: fields["tables"].pop("inbox")),
        "not as many rows": manifest_with(
            whole, lambda fields: fields["tables"].update({"inbox": 7})
        ),
    }
    for words, members in cases.items():
        write(archive, members)
        with pytest.raises(BackupRefused, match=words):
            await restore(new, archive)
        assert left_nothing(new), words


async def test_a_file_that_is_cut_short_or_no_archive_is_refused(
    archive: Path, new: Settings, tmp_path: Path
) -> None:
    whole = archive.read_bytes()
    for part in (0, 1, 40, len(whole) // 2, len(whole) - 30):
        archive.write_bytes(whole[:part])
        with pytest.raises(BackupRefused):
            await restore(new, archive)
    for content in (b"not an archive at all", gzip.compress(b"x" * 5000), b"\0" * 5000):
        archive.write_bytes(content)
        with pytest.raises(BackupRefused):
            await restore(new, archive)
    with pytest.raises(BackupRefused, match="No such file"):
        await restore(new, tmp_path / "nowhere")
    assert left_nothing(new)


def test_the_mark_stands_first_and_the_list_last(archive: Path, tmp_path: Path) -> None:
    names = [info.name for info, _ in members_of(archive)]
    assert (names[0], names[-1]) == (MARK, MANIFEST)
    (tmp_path / "out").mkdir()
    with archive.open("rb") as source:
        assert set(extract(source, tmp_path / "out").members) == set(names[1:-1])
