"""PALMS_HOME: where all that a run leaves is kept, and the environment that keeps third parties inside it.

store/      stage outputs            sweeps/<id>/  state, log and report of a sweep
mlflow/     tracking database        prefect/      orchestration database        hub/  downloaded models
models/     registered models        ratings/<id>/ what people said of a sweep, and the key to it
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from configs.problems import BadInput
from model_registry.home import home_folder

# Addresses of databases in the place of the home's own: they hold passwords, and are written nowhere.
PREFECT_DATABASE, MLFLOW_DATABASE = "PALMS_PREFECT_DATABASE", "PALMS_MLFLOW_DATABASE"


def is_address(place: str) -> bool:
    """Of objects, and no path."""
    return "://" in place


@cache
def _held(folder: Path) -> int:
    """A descriptor of a folder, open for as long as this process lives."""
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


@dataclass(frozen=True)
class Home:
    root: Path

    @classmethod
    def named(cls) -> Home:
        """The one that a command would use, whether or not it has been made."""
        return cls(home_folder())

    @classmethod
    def open(cls) -> Home:
        """PALMS_HOME, `.palms/` here by default, made where it is not there: for commands that write.

        Raises:
            BadInput: it cannot be made or written to.
        """
        root = cls.named().root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = root / f".writable.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise BadInput(f"PALMS_HOME={root}: {error.strerror}; a folder that can be written to is required") from None
        return cls(root)

    @property
    def sweeps(self) -> Path:
        return self.root / "sweeps"

    @property
    def readings(self) -> Path:
        """Notes of which models can read what."""
        return self.root / "cache" / "readings"

    def ratings(self, sweep: str) -> Path:
        return self.root / "ratings" / sweep

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def database(self) -> Path:
        """The tracker's own."""
        return self.mlflow / "mlflow.db"

    @property
    def own_tracker(self) -> bool:
        """Whether the tracker's database is the file here, and no other that the environment names."""
        return not os.environ.get(MLFLOW_DATABASE)

    @property
    def artifacts(self) -> Path:
        """The tracker's."""
        return self.mlflow / "artifacts"

    def store(self, given: str | None) -> str:
        """A path, or an address that is left as it is."""
        if given and is_address(given):
            return given
        return str(Path(given).expanduser().absolute() if given else self.root / "store")

    def tracking_uri(self, given: str | None = None) -> str:
        return given or os.environ.get(MLFLOW_DATABASE) or f"sqlite:///{self._addressed(self.mlflow)}/mlflow.db"

    def _addressed(self, folder: Path) -> Path:
        """The same folder by a path that an address of SQLAlchemy can hold: it cuts at a `?`, which cannot be quoted there.

        SQLite's own `file:` addresses can, and MLflow 3.17 then makes a folder `file:` wherever it stands.
        """
        return Path(f"/proc/self/fd/{_held(folder)}") if "?" in str(folder) else folder

    def noted(self, path: Path) -> str:
        """A path as a note keeps it: from the home where it lies inside, so that the home can be moved."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def noted_store(self, address: str) -> str:
        return address if is_address(address) else self.noted(Path(address))

    def place(self, noted: str) -> Path:
        return self.root / noted

    def below(self, folder: Path) -> None:
        """Make a folder inside the home, but never the home itself: one that was moved away is not begun anew.

        Raises FileNotFoundError: the home is not there.
        """
        for part in reversed([folder, *folder.parents]):
            if part != self.root and part.is_relative_to(self.root):
                part.mkdir(exist_ok=True)

    def link(self, link: Path, target: Path) -> None:
        """Let `link` lead to `target`: relative where that lies inside the home, so that the home can be moved.

        A home may have been copied by something that follows links; the folder that then stands there is replaced.
        """
        leads = os.path.relpath(target, link.parent) if target.is_relative_to(self.root) else str(target)
        if not (link.is_symlink() and str(link.readlink()) == leads):
            self.below(link.parent)
            if link.is_dir() and not link.is_symlink():
                shutil.rmtree(link)
            link.unlink(missing_ok=True)
            link.symlink_to(leads)

    def settle_environment(self) -> None:
        """Before Prefect, MLflow, matplotlib or the hub are imported: folders under the home, no telemetry, no chatter.

        What the user has set for the hub stays as it is: models already downloaded are not downloaded again.
        """
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # 7 by default: minutes for a server that went away
        os.environ.update(
            PREFECT_HOME=str(self.prefect),
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore",
            PREFECT_CLI_COLORS="false",
            DO_NOT_TRACK="true",
            MLFLOW_DISABLE_TELEMETRY="true",
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            MPLCONFIGDIR=str(self.root / "cache" / "matplotlib"),
            HF_HUB_DISABLE_TELEMETRY="1",
            DISABLE_SAFETENSORS_CONVERSION="1",
            TOKENIZERS_PARALLELISM="false",
            PYTORCH_NVML_BASED_CUDA_CHECK="1",
        )
        if "HF_HOME" not in os.environ and "HF_HUB_CACHE" not in os.environ:
            os.environ["HF_HOME"] = str(self.root / "hub")
