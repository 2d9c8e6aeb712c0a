"""The bundle: one stored zip `NAME.umtn` with manifest, ONNX graphs, weights and a self-test.

Everything is data, except files under `torchscript/`, which are code: nobody loads them unless asked to.
numpy and the standard library only, for it is read on stage where torch is not installed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from export.bundle.manifest import (
    FORMAT_VERSION,
    BundleError,
    Domain,
    Graph,
    Manifest,
    PitchLayout,
    Port,
    Probe,
    State,
)
from export.bundle.sharing import thin, whole

__all__ = [
    "FORMAT_VERSION",
    "Bundle",
    "BundleError",
    "Domain",
    "Graph",
    "Manifest",
    "PitchLayout",
    "Port",
    "Probe",
    "State",
    "agreed",
    "write_bundle",
]

MAX_FILES = 1024
MAX_FILE_BYTES = 1 << 30
MAX_BUNDLE_BYTES = 4 << 30
MAX_MANIFEST_BYTES = 4 << 20
MAX_PROBE_BYTES = 256 << 20
MANIFEST, PROBE = "manifest.json", "probe.npz"
_CHUNK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # equal content gives an equal file


class Bundle:
    """An opened bundle. Construction through `open` has verified every byte; `read` verifies once more."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._hashes = _hashes(manifest)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Verify the whole file. BundleError: one sentence that names the file and what is wrong with it."""
        path = Path(path)
        with _zip(path) as archive:
            members = _members(archive)
            manifest = Manifest.from_json(_read_manifest(archive, members))
            hashes = _hashes(manifest)
            unlisted = sorted(members.keys() - hashes.keys() - {MANIFEST})
            missing = sorted(hashes.keys() - members.keys())
            if unlisted:
                raise BundleError(f"{unlisted[0]!r} is in the archive, but not in its manifest")
            if missing:
                raise BundleError(f"{missing[0]!r} is in the manifest, but not in the archive")
            for name, wanted in hashes.items():
                digest = hashlib.sha256()
                with archive.open(members[name]) as file:
                    while chunk := file.read(_CHUNK):
                        digest.update(chunk)
                _check_hash(name, digest.hexdigest(), wanted)
        return cls(path, manifest)

    @property
    def names(self) -> tuple[str, ...]:
        """Every file in the bundle but the manifest."""
        return tuple(self._hashes)

    def read(self, name: str) -> bytes:
        """One file's bytes, hashed again: the file on disk may have been replaced since `open`. A graph has all its
        weights, also those that stand in the archive only once (`export.bundle.sharing`)."""
        data = self._stored(name)
        if name not in self.manifest.graphs:
            return data
        try:
            return whole(data, self._weights)
        except (ValueError, IndexError) as error:
            raise BundleError(f"{self.path.name}: {name} cannot be read ({error}); export it again") from None

    def _weights(self, name: str) -> bytes:
        """What a graph may refer to."""
        if name not in self.manifest.files:
            raise ValueError(f"its weights lie in {name!r}, which the bundle does not hold")
        return self._stored(name)

    def _stored(self, name: str) -> bytes:
        if name not in self._hashes:
            raise BundleError(f"{self.path.name} holds no {name!r}; it holds {', '.join(self._hashes)}")
        with _zip(self.path) as archive:
            data = archive.read(_members(archive).get(name, name))
            _check_hash(name, hashlib.sha256(data).hexdigest(), self._hashes[name])
        return data

    def domain(self, id: str) -> Domain:
        """The domain of that id, or a BundleError that lists the known ones."""
        for domain in self.manifest.domains:
            if domain.id == id:
                return domain
        known = ", ".join(domain.id for domain in self.manifest.domains)
        raise BundleError(f"{self.path.name} has no domain {id!r}; it has {known}")

    def probe(self) -> dict[str, np.ndarray]:
        """The self-test: `audio`, `noise` (if any), `latent` and one `audio.<domain>` each; all float32.

        Of guided decoders also what their sample loops are told and draw: see `export.probe.make_probe`.
        """
        data = self.read(PROBE)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(info.file_size for info in archive.infolist()) > MAX_PROBE_BYTES:
                    raise BundleError(
                        f"{self.path.name}: {PROBE} unpacks to more than {MAX_PROBE_BYTES} bytes"
                    )
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                probe = {name: np.asarray(arrays[name]) for name in arrays.files}
        except Exception as error:  # zlib, zipfile and numpy have no common base
            if isinstance(error, BundleError):
                raise
            raise BundleError(
                f"{self.path.name}: {PROBE} is not a readable numpy archive ({error})"
            ) from None
        _check_probe(self.path.name, self.manifest, probe)
        return probe


def write_bundle(
    path: str | os.PathLike[str],
    manifest_without_hashes: Manifest,
    files: Mapping[str, bytes],
) -> Manifest:
    """Write atomically, hashes filled in, and open the result before it takes the old file's place.

    `files` holds every file but the manifest. Whatever fails, an old bundle at `path` stays as it was.
    """
    path = Path(path)
    graphs = manifest_without_hashes.graphs
    files = {name: thin(data, files) if name in graphs else data for name, data in files.items()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    absent = [name for name in graphs if name not in digests]
    if absent:
        raise BundleError(f"the manifest lists the graph {absent[0]!r}, but its file was not given")
    graphs = {
        name: dataclasses.replace(graph, path=name, sha256=digests[name]) for name, graph in graphs.items()
    }
    rest = {name: digest for name, digest in digests.items() if name not in graphs}
    manifest = dataclasses.replace(manifest_without_hashes, graphs=graphs, files=rest)
    manifest.check()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            _write_zip(file, manifest, files)
        Bundle.open(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise BundleError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return manifest


def _write_zip(file: BinaryIO, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {MANIFEST: manifest.to_json().encode(), **files}.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """The opened archive; what goes wrong inside becomes one sentence that begins with the file's name."""
    try:
        if path.is_dir():
            raise BundleError("it is a folder, but a bundle is one file")
        if path.stat().st_size > MAX_BUNDLE_BYTES:
            raise BundleError(f"it is larger than {MAX_BUNDLE_BYTES} bytes, the limit of a bundle")
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise BundleError(f"{path}: there is no such file") from None
    except BundleError as error:
        raise BundleError(f"{path.name}: {error}") from None
    except zipfile.BadZipFile as error:
        raise BundleError(
            f"{path.name}: this is not a bundle, or it is damaged or cut short ({error}); fetch it again"
        ) from None
    except (OSError, EOFError, RuntimeError, NotImplementedError, KeyError) as error:
        raise BundleError(f"{path.name}: cannot be read ({error})") from None


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries by name, refused where one is unsafe, doubled, packed or too large."""
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise BundleError(f"it holds {len(infos)} files, more than the {MAX_FILES} allowed")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename
        parts = name.split("/")
        if (
            not name
            or "\\" in name
            or ":" in name
            or "\0" in name
            or any(p in ("", ".", "..") for p in parts)
        ):
            raise BundleError(f"the file name {name!r} points outside the archive or to a folder")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise BundleError(f"{name!r} is a symbolic link")
        if name in members:
            raise BundleError(f"the file name {name!r} stands in the archive twice")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise BundleError(f"{name!r} is compressed or encrypted, but a bundle stores its files plainly")
        if info.file_size > MAX_FILE_BYTES:
            raise BundleError(f"{name!r} has {info.file_size} bytes, more than the {MAX_FILE_BYTES} allowed")
        members[name] = info
    return members


def _read_manifest(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> bytes:
    if MANIFEST not in members:
        raise BundleError(f"it is a zip file, but no bundle: it holds no {MANIFEST}")
    if members[MANIFEST].file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST} is larger than the {MAX_MANIFEST_BYTES} bytes allowed")
    return archive.read(members[MANIFEST])


def _hashes(manifest: Manifest) -> dict[str, str]:
    return {
        **{name: graph.sha256 for name, graph in manifest.graphs.items()},
        **manifest.files,
    }


def _check_hash(name: str, got: str, wanted: str) -> None:
    if got != wanted:
        raise BundleError(
            f"{name!r} is not what the manifest promises (wrong SHA-256): it was changed or damaged"
        )


def agreed(probe: Mapping[str, np.ndarray], domain: str) -> int:
    """For how many samples of the probe every right engine plays the same."""
    count = probe.get(f"agreed.{domain}")
    return len(probe["audio"]) if count is None else int(count[0])


def _check_probe(file: str, manifest: Manifest, probe: dict[str, np.ndarray]) -> None:
    samples = manifest.probe.blocks * manifest.block
    wanted: dict[str, tuple[int, ...]] = {f"audio.{domain.id}": (samples,) for domain in manifest.domains}
    wanted["audio"] = (samples,)
    wanted["latent"] = (manifest.latent_channels, samples // manifest.hop)
    if any(port.name == "noise" for graph in manifest.graphs.values() for port in graph.inputs):
        wanted["noise"] = (samples,)
    classes, counts = [], []
    for domain in manifest.domains:
        if f"told.{domain.id}" in probe:  # a guided decoder's, whose latent has a width of its own
            width = max((1, *probe[f"told.{domain.id}"].shape[:1]))
            wanted[f"told.{domain.id}"] = (width, samples // manifest.hop)
            classes += [f"guide.{domain.id}", f"drawn.{domain.id}"]
        if f"told.{domain.id}" in probe or f"agreed.{domain.id}" in probe:
            counts.append(f"agreed.{domain.id}")
    wanted |= dict.fromkeys(classes, (samples,)) | dict.fromkeys(counts, (1,))
    for name in wanted.keys() ^ probe.keys():
        side = "lacks" if name in wanted else "has an unknown"
        raise BundleError(f"{file}: {PROBE} {side} array {name!r}")
    for name, shape in wanted.items():
        array, dtype = probe[name], np.int32 if name in (*classes, *counts) else np.float32
        if array.dtype != dtype or array.shape != shape or not np.isfinite(array).all():
            raise BundleError(
                f"{file}: {name!r} in {PROBE} is {array.dtype} {list(array.shape)}, "
                f"but finite {np.dtype(dtype)} {list(shape)} was wanted"
            )
    for name in counts:
        if not 0 <= probe[name][0] <= samples:
            raise BundleError(
                f"{file}: {name!r} in {PROBE} is {probe[name][0]}, but its audio has {samples} samples"
            )
