"""Checks that loggers which send to a server have its API key: without a key their packages ask on the terminal, or
wait.

The places that are searched are those that each package documents: environment variables, files and arguments.
"""

import netrc
import os
import re
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as NotSettings
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import CometLogger, WandbLogger

from rnnlab.config.run_config import RunConfig
from rnnlab.regular_files import from_home
from rnnlab.training.assembly import is_a
from rnnlab.training.tracking import Comet

CLOUD = "https://api.wandb.ai"
NOT_SENT = ("offline", "dryrun", "disabled")


def missing(config: RunConfig) -> Iterator[str]:
    """A line for each logger of the config that has no key and would ask for it."""
    if config["trainer"]["fast_dev_run"]:
        return  # then Lightning removes all loggers
    for name, node in config["logger"].items():
        at = f"logger.{name}"
        if not node:
            continue
        if is_a(node, at, WandbLogger) and (host := _wandb_without_key(node)):
            yield (
                f"{at}: there is no key for {host}: `wandb login` or WANDB_API_KEY gives one; {at}.offline=true or "
                "WANDB_MODE=offline writes into the run's folder alone, for `wandb sync`"
            )
        if (is_a(node, at, Comet) or is_a(node, at, CometLogger)) and _comet_without_key(node):
            yield (
                f"{at}: there is no key for Comet: `comet login` or COMET_API_KEY gives one; {at}.online=false writes "
                "an archive, for `comet upload`"
            )


def _wandb_without_key(node: dict[str, Any]) -> str:
    """The server for which W&B would ask for a key; "" where W&B has a key, or sends nothing."""
    settings = _wandb_settings()
    words = (node.get("mode"), os.environ.get("WANDB_MODE"), settings.get("mode"))
    if node.get("offline") or any(word in NOT_SENT for word in words):
        return ""
    if any(node.get(key) for key in ("experiment", "settings", "anonymous")):
        return ""  # W&B itself checks these
    told = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_ANONYMOUS", "WANDB_DISABLED")
    if any(os.environ.get(name) for name in told) or settings.get("api_key") or settings.get("anonymous"):
        return ""
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb.setup().settings, "api_key", None):  # `wandb.login(key=...)`
        return ""
    address = os.environ.get("WANDB_BASE_URL") or settings.get("base_url") or CLOUD
    host = urlsplit(address).netloc or address
    return "" if _in_netrc(host) else host


def _wandb_settings() -> dict[str, str]:
    """The settings in W&B's own files: the user's, overridden by those of the working folder."""
    user = Path(os.environ.get("WANDB_CONFIG_DIR") or from_home("~/.config/wandb"))
    found: dict[str, str] = {}
    for path in (user / "settings", Path(os.environ.get("WANDB_DIR") or ".") / "wandb" / "settings"):
        parser = ConfigParser(interpolation=None)
        with suppress(OSError, UnicodeError, NotSettings):
            parser.read_string(path.read_text(encoding="utf-8"))
            found |= dict(parser["default"]) if "default" in parser else {}
    return found


def _in_netrc(host: str) -> bool:
    """Whether the user's netrc has a password for a host."""
    asked = os.environ.get("NETRC")
    places = [asked] if asked else ["~/.netrc", "~/_netrc"]
    for place in places:
        with suppress(OSError, netrc.NetrcParseError, UnicodeError):
            found = netrc.netrc(from_home(place)).authenticators(host)
            if found and found[2]:
                return True
    return False


def _comet_without_key(node: dict[str, Any]) -> bool:
    if node.get("online") is False or node.get("api_key") or os.environ.get("COMET_API_KEY"):
        return False
    asked = os.environ.get("COMET_CONFIG")
    places = [Path(".comet.config"), from_home("~/.comet.config")]
    if asked:
        place = from_home(asked)
        places = [place / ".comet.config" if place.is_dir() else place, *places]
    for place in places:
        with suppress(OSError, UnicodeError):
            if re.search(r"api_key\s*=\s*\S", place.read_text(encoding="utf-8"), re.I):
                return False
    return True
