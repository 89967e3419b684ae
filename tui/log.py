"""The terminal's own log file: what a person need not read on the screen. Never writes to fd 2."""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler

from sessions.paths import Paths, private_folder, private_open

logger = logging.getLogger("llama_tui.tui")
logger.propagate = False


def open_log(paths: Paths) -> logging.Logger:
    """Log to `logs/tui.log` of a home from now on (1 MB, three files). Raises OSError; then to nowhere."""
    others = logging.getLogger("asyncio")
    for old in list(logger.handlers):
        logger.removeHandler(old)
        others.removeHandler(old)
        old.close()
    nowhere = logging.NullHandler()  # without a file, too, nothing goes to fd 2
    logger.addHandler(nowhere)
    others.addHandler(nowhere)
    file = private_folder(paths.logs) / "tui.log"
    os.close(private_open(str(file), os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    handler = RotatingFileHandler(file, maxBytes=1_000_000, backupCount=2, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    others.addHandler(handler)
    logger.setLevel(logging.INFO)
    return logger
