"""The format of a bundle, in numpy alone: its manifest, its files, its weights. Whatever plays starts here."""

from export.bundle.bundle import Bundle, BundleError, write_bundle
from export.bundle.manifest import Manifest

__all__ = ["Bundle", "BundleError", "Manifest", "write_bundle"]
