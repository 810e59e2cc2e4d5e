"""DVC's cache looked over: an object that is not what its name says is never given out.

DVC itself takes every object that cannot be written to for whole. A disk that lost power, or a program that wrote to an
output which is another name of the object, leaves it damaged: DVC would put it into place again and again, and say that
all is up to date.
"""

import logging
import re

OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")  # beside them lie files that another DVC is copying

logger = logging.getLogger(__name__)


def drop_damaged_objects() -> list[str]:
    """Remove each object whose content is not that of its name, so that DVC has what it was of made again; their names.

    Only what was written to, or has changed its size, since DVC hashed it is read. Where there is no DVC repository,
    there is nothing to look over.
    """
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.errors import ObjectFormatError

    damaged = []
    try:
        repo = Repo()
    except NotDvcRepoError:
        return []
    with repo:
        cache = repo.cache.local
        for name in filter(OBJECT.fullmatch, list(cache.all())):
            try:
                HashFileDB.check(cache, name)  # that of the local cache looks no further than the permissions
            except ObjectFormatError:
                logger.warning("object %s of DVC's cache is damaged: it is removed, and its stage runs again", name)
                damaged.append(name)
            except OSError as error:
                logger.warning("object %s of DVC's cache cannot be read (%s)", name, error.strerror)
    return damaged
