"""Damaged and hostile archives."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
from damaged_files import case, cut
from weight_files import write_archive


@case("cut short")
def archive_cut_in_the_middle(make):
    return cut(write_archive(make.folder / "r.tar.gz", {"frozen.pb": make.graph}), 0.5)


@case("cut short|not a readable")
def archive_with_flipped_bits(make):
    path = write_archive(make.folder / "r.tar.gz", {"frozen.pb": make.graph})
    data = np.frombuffer(path.read_bytes(), "uint8").copy()
    data[len(data) // 2 :][:50] ^= 0xFF
    path.write_bytes(data.tobytes())
    return path


@case("not a readable .tar.gz")
def gzip_of_text(make):
    return make.write(gzip.compress(b"text" * 1000), "r.tar.gz")


@case("an archive without files|not a readable")
def empty_archive(make):
    return write_archive(make.folder / "r.tar.gz", {})


@case("holds neither a frozen graph")
def archive_of_something_else(make):
    return write_archive(make.folder / "r.tar.gz", {"README.md": b"text"})


@case("holds several graphs")
def archive_of_several_graphs(make):
    members = {"a/frozen_a.pb": make.graph, "b/frozen_b.pb": make.graph}
    return write_archive(make.folder / "r.tar.gz", members)


@case("one of them is missing")
def archive_with_half_a_checkpoint(make):
    prefix = make.checkpoint()
    members = {"model.ckpt.index": Path(f"{prefix}.index").read_bytes()}
    for file in make.folder.glob("model.ckpt.*"):
        file.unlink()
    return write_archive(make.folder / "r.tar.gz", members)


@case("neither a frozen graph")
def archive_with_a_damaged_graph(make):
    return write_archive(make.folder / "r.tar.gz", {"frozen.pb": make.graph[:-1]})


@case("leads outside")
def archive_with_path_traversal(make):
    members = {"frozen.pb": make.graph, "../../executed": b"x"}
    return write_archive(make.folder / "r.tar.gz", members)


@case("leads outside")
def archive_with_an_absolute_path(make):
    members = {"frozen.pb": make.graph, str(make.folder / "executed"): b"x"}
    return write_archive(make.folder / "r.tar.gz", members)


def archive_with(make, member: tarfile.TarInfo, data: bytes = b"") -> Path:
    path = make.folder / "r.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(data))
    return path


@case("a link, device or sparse file")
def archive_with_a_symbolic_link(make):
    member = tarfile.TarInfo("frozen.pb")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return archive_with(make, member)


@case("a link, device or sparse file")
def archive_with_a_device(make):
    member = tarfile.TarInfo("frozen.pb")
    member.type = tarfile.FIFOTYPE
    return archive_with(make, member)


@case("unpacks to more than")
def archive_that_announces_a_terabyte(make):
    member = tarfile.TarInfo("frozen.pb")
    member.size = 2**40
    return make.write(gzip.compress(member.tobuf() + bytes(10**6)), "r.tar.gz")


@case("more than 1000 members")
def archive_of_countless_members(make):
    return write_archive(make.folder / "r.tar.gz", {f"file_{i}": b"" for i in range(1500)})


@case("a header of")
def archive_with_a_huge_header(make):
    # tarfile reads an extended header whole, whatever length it announces.
    member = tarfile.TarInfo("header")
    member.type, member.size = tarfile.XHDTYPE, 2**32
    return make.write(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(10**6)), "r.tar.gz")


@case("holds neither a frozen graph")
def archive_with_a_folder_named_as_a_graph(make):
    path = make.folder / "r.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        folder = tarfile.TarInfo("frozen.pb")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        archive.addfile(tarfile.TarInfo("README.md"))
    return path


@case("sparse")
def archive_with_a_sparse_file(make):
    member = tarfile.TarInfo("frozen.pb")
    member.type = tarfile.GNUTYPE_SPARSE
    return archive_with(make, member)


@case("far too long headers")
def archive_with_many_long_headers(make):
    path = make.folder / "r.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for number in range(10):
            member = tarfile.TarInfo(f"file_{number}")
            member.pax_headers = {"comment": "x" * 1_000_000}
            archive.addfile(member)
    return path


@case("far too long headers|not a readable")
def archive_with_a_chain_of_long_names(make):
    data = b""
    for _ in range(900):
        member = tarfile.TarInfo("././@LongLink")
        member.type, member.size = tarfile.GNUTYPE_LONGNAME, 10_240
        data += member.tobuf(tarfile.GNU_FORMAT) + b"a" * 10_240
    return make.write(gzip.compress(data + bytes(1024)), "r.tar.gz")
