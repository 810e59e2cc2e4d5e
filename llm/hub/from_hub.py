"""A model of the Hugging Face hub, or the copy in the hub's own cache.

What can be known to fail does so before the weights are asked for, in one line.
"""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.failures import without_secrets
from llm.fetching.download import DownloadError
from llm.fetching.fetched import link_or_copy
from llm.files import file_sha256
from llm.hub.info import HUB
from llm.hub.whole import (
    DESCRIPTION_FILES,
    OTHER_FORM,
    WEIGHT_FILES,
    check_description,
    check_model,
    check_room,
    model_files,
)

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

CARD = "README.md"  # says the licence where the hub itself cannot be asked
SHA256 = re.compile(r"[0-9a-f]{64}")  # of a large file's content: how the hub's cache names it
HUB_TIMEOUT_S = 30.0  # for the hub's word on a model; files have HF_HUB_DOWNLOAD_TIMEOUT
OTHER_DISK = "make room, or set HF_HOME to a folder on a larger disk"
OTHER_COPY = "make room, or keep HF_HOME on the project's own disk, where no second copy is needed"

logger = logging.getLogger(__name__)


def fetch_from_hub(name: str, revision: str, folder: Path) -> dict[str, Any]:
    """Link a model of the hub into the folder; facts about it. What broke off goes on where it stopped, in its cache.

    Where the hub is out of reach its cached copy is taken. Raises OSError or ValueError saying what to do.
    """
    with _told(name, revision):
        info = _ask(name, revision)
        snapshot = _cached(name, revision) if info is None else _download(name, revision, info, folder)
    check_description(snapshot, name, {path.name for path in snapshot.iterdir() if path.is_file()})
    _check_content(snapshot, name)
    check_model(snapshot, name)
    for path in model_files(snapshot):
        (folder / path.name).unlink(missing_ok=True)  # of a try that broke off
        link_or_copy(path, folder / path.name)
    licence = _card_licence(snapshot) if info is None else info.card_data and info.card_data.license
    source, commit = f"{HUB}{name}", snapshot.name
    return {"name": name, "source": source, "revision": commit, "licence": str(licence or "none stated")}


@contextmanager
def _told(name: str, revision: str) -> Iterator[None]:
    """Raise DownloadError saying what to do for what the hub's client raises."""
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    lost = f"{name} at {revision} could not be had from the hub"
    try:
        yield
    except GatedRepoError as error:
        raise DownloadError(_ask_for_token(name)) from error
    except RevisionNotFoundError as error:
        raise DownloadError(
            f"{name} has no revision {revision} on the hub: set base.revision to one of its commits, branches or tags"
        ) from error
    except RepositoryNotFoundError as error:
        raise DownloadError(
            f"{lost}: there is none of that name, or it is private: correct base.location, or set HF_TOKEN to a token "
            "that may read it"
        ) from error
    except OfflineModeIsEnabled as error:
        raise DownloadError(
            f"{lost}: HF_HUB_OFFLINE is set, and the hub's cache holds no copy: unset it, or bring one by "
            f"`hf download {name} --revision {revision}`"
        ) from error
    except json.JSONDecodeError as error:
        raise DownloadError(
            f"{lost}: the answer is not what a hub says, perhaps a network's sign-in page: check HF_ENDPOINT"
        ) from error
    except LocalEntryNotFoundError as error:
        raise DownloadError(f"{lost} to its end: check the network and run again, it goes on") from error
    except httpx2.HTTPError as error:
        if getattr(getattr(error, "response", None), "status_code", None) == 401:
            raise DownloadError(f"{lost}: HF_TOKEN is no token that the hub knows: correct or unset it") from None
        reason = without_secrets(" ".join(str(error).split()))  # a redirect's address is signed
        raise DownloadError(f"{name} at {revision} could not be had from the hub ({reason})") from None


def _ask_for_token(name: str) -> str:
    return (
        f"{name} is given to registered users only: accept its terms at {HUB}{name}, make a token at "
        f"{HUB}settings/tokens and run again with the environment variable HF_TOKEN set to it"
    )


def _ask(name: str, revision: str) -> "ModelInfo | None":
    """What the hub says of the model; None where it is out of reach and its cache holds a copy."""
    import httpx2
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=HUB_TIMEOUT_S)
    except (OfflineModeIsEnabled, httpx2.HTTPError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
            raise
        try:
            copy = _cached(name, revision)
        except LocalEntryNotFoundError:
            raise error from None
        logger.warning("%s: the hub is out of reach; reading its copy %s", name, copy)
        return None
    if info.gated and get_token() is None:
        raise DownloadError(_ask_for_token(name))
    return info


def _cached(name: str, revision: str) -> Path:
    """Folder of the copy in the hub's cache, perhaps not of all files. Raises LocalEntryNotFoundError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except IncompleteSnapshotError as error:
        return Path(error.snapshot_path)


def _download(name: str, revision: str, info: "ModelInfo", folder: Path) -> Path:
    """Folder of the model in the hub's cache: first the small files, which tell whether the weights are worth it."""
    from huggingface_hub import snapshot_download

    small = [*DESCRIPTION_FILES, CARD]  # by their revision: the cache then knows which commit a branch is
    described = Path(snapshot_download(name, revision=revision, allow_patterns=small))
    check_description(described, name, {file.rfilename for file in info.siblings or []})
    _check_disks(name, info, folder)
    logger.info("downloading %s at %s", name, described.name)
    return Path(
        snapshot_download(name, revision=described.name, allow_patterns=WEIGHT_FILES, ignore_patterns=OTHER_FORM)
    )


def _check_disks(name: str, info: "ModelInfo", folder: Path) -> None:
    """Raise DownloadError where the weights do not fit into the cache, or not beside it into the folder."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE

    files = [file for file in info.siblings or [] if fnmatch(file.rfilename, WEIGHT_FILES)]
    sizes = {file.rfilename: file.size or 0 for file in files if not fnmatch(file.rfilename, OTHER_FORM)}
    lacking = [file for file in sizes if not isinstance(try_to_load_from_cache(name, file, revision=info.sha), str)]
    cache = Path(HF_HUB_CACHE)
    check_room(cache, sum(sizes[file] for file in lacking), name, OTHER_DISK)
    if cache.stat().st_dev != folder.stat().st_dev:  # no file can have a name on both
        check_room(folder, sum(sizes.values()), name, OTHER_COPY)


def _check_content(snapshot: Path, name: str) -> None:
    """Raise DownloadError for a large file that is not the one by whose SHA-256 the hub's cache names it."""
    for path in model_files(snapshot):
        blob = path.resolve()
        if SHA256.fullmatch(blob.name) and file_sha256(blob) != blob.name:
            raise DownloadError(
                f"{path.name} of {name} is damaged or half there in the hub's cache: delete {blob} and run again, "
                "only that file is fetched anew"
            )


def _card_licence(snapshot: Path) -> str | None:
    """The licence in the cached model card, None where there is no card or none in it."""
    from huggingface_hub import metadata_load

    return (metadata_load(snapshot / CARD) or {}).get("license") if (snapshot / CARD).is_file() else None
