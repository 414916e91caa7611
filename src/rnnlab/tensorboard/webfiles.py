"""TensorBoard's page with one change: in HParams' parallel coordinates, a hyperparameter that spans a factor of 30 has
a logarithmic axis from the beginning. The page has no setting for that, so its script is edited.

Where another version's script has other text, its page is not changed.
"""

import io
import re
import zipfile
from collections.abc import Callable
from typing import IO

from tensorboard import assets

PAGE = "index.js"
SCALE = re.compile(
    rb'(\((\w+),(\w+)\)=>\(\{name:\w+\(\2\),index:\3,absoluteIndex:[^}]{1,60}scale:this\._isNumericColumn\(\3\)\?)"LINEAR"'
)
WIDE = rb"""\1(d=>d&&d.minValue>0&&d.maxValue>=30*d.minValue?"LOG":"LINEAR")(\2.domainInterval)"""


def provider() -> Callable[[], IO[bytes]] | None:
    """The function by which TensorBoard opens its page's files; None, for its default, where it has none."""
    own = assets.get_default_assets_zip_provider()
    return None if own is None else lambda: rewritten(own())


def rewritten(page: IO[bytes]) -> IO[bytes]:
    found = io.BytesIO()
    with page, zipfile.ZipFile(page) as before, zipfile.ZipFile(found, "w") as after:
        for info in before.infolist():
            content = before.read(info)
            after.writestr(
                info, SCALE.sub(WIDE, content) if info.filename == PAGE else content, zipfile.ZIP_STORED
            )
    found.seek(0)
    return found
