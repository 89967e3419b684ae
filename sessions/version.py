"""The program's version, read by the package's metadata, the handshake and `--version`."""

VERSION = "0.1.0"
