"""Fetching a model from the Hugging Face hub, or from the cache of it when the hub is out of reach.

Fetches by exact file name: configuration, tokenizer and one layout of weights (`folders.files_that_matter`), so no other pickle,
archive or code of a repository ever reaches the disk. Knows nothing of loading.
"""

from __future__ import annotations

import os
from pathlib import Path

from model_registry.folders import check_folder, files_that_matter, weight_files


def fetch_hub(repo_id: str, revision: str, cache_dir: Path, also: tuple[str, ...] = ()) -> tuple[Path, str]:
    """Bring one revision of a repository into `cache_dir`. `also`: further files of it, where it has them.

    Returns the folder and the commit (40 hex digits) that `revision` stood for. While the hub is out of reach, a revision that is
    complete in the cache is taken as it is.

    Raises:
        ValueError: no such repository or revision, no permission, or nothing in it that can be loaded: final.
        ConnectionError: the hub cannot be reached or fails, and the cache does not hold the revision: worth another try.
    """
    # transformers would otherwise ask the hub for a converted copy of a .bin checkpoint, in a thread of its own
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import httpx2
    from huggingface_hub import HfApi, get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import (
        CachedRepoTreeNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RevisionResolutionError,
    )
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    api = HfApi()
    what = f"hub model {repo_id}@{revision}"
    try:
        resolved = api.resolve_revision(repo_id, revision=revision, cache_dir=cache_dir)
        try:
            names = [file.path for file in get_cached_repo_tree(repo_id, revision=resolved, cache_dir=cache_dir)]
        except CachedRepoTreeNotFoundError:
            names = api.list_repo_files(repo_id, revision=resolved.resolved)
        if not weight_files(names):
            raise ValueError(f"{what}: no weights; model.safetensors (or its shards and index) or pytorch_model.bin is required")
        folder = snapshot_download(
            repo_id, revision=resolved, cache_dir=cache_dir, allow_patterns=[*files_that_matter(names), *also]
        )
    except HFValidationError:
        raise ValueError(f"{what}: not a repository's name; `owner/name` is required") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status >= 500 or status in (408, 429):
            raise ConnectionError(f"{what}: the hub answered {status}; try again later") from None
        raise ValueError(f"{what}: the hub answered {status}: {_one_line(error)}") from None
    except (RevisionResolutionError, LocalEntryNotFoundError, httpx2.HTTPError, ConnectionError):
        raise ConnectionError(
            f"{what}: the hub cannot be reached and {cache_dir} does not hold it; a connection or a local folder is required"
        ) from None
    check_folder(Path(folder))
    return Path(folder), resolved.resolved


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else (lines or [type(error).__name__])[0]  # the first line repeats status and request id
