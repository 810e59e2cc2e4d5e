"""A trained model put on the Hugging Face hub: what would be sent, whether it may be, and the sending."""

from dataclasses import dataclass
from pathlib import Path

from llm.app.model_card import TrainedModel
from llm.evaluation.samples import own_sources
from llm.failures import without_secrets

# What an export writes, and nothing else: no table, no token file, no log of a run can be among it.
SENT = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "README.md")


@dataclass(frozen=True)
class Publication:
    """A folder with an exported model, and the repository of the hub that it is for."""

    folder: Path
    repo: str  # owner/name
    private: bool

    @property
    def files(self) -> dict[str, int]:
        """Size in bytes of each file that is sent, by its name in the repository."""
        found = {path for pattern in SENT for path in self.folder.rglob(pattern) if path.is_file()}
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in sorted(found)}

    def plan(self) -> str:
        """What `send` would do, in words: the repository, the files with their sizes, the card."""
        who = "private" if self.private else "public"
        lines = [f"would be sent to the {who} repository {self.repo}:", ""]
        lines += [f"{size:>15,}  {name}" for name, size in self.files.items()]
        lines += [f"{sum(self.files.values()):>15,}  bytes in all", "", "README.md, the model card:", ""]
        return "\n".join([*lines, (self.folder / "README.md").read_text(encoding="utf-8")])

    def send(self, token: str) -> str:
        """Make the repository unless it is there, and put the files into it as one commit; its address.

        Raises OSError saying what the hub answered.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

        hub = HfApi(token=token)
        try:
            hub.create_repo(self.repo, private=self.private, exist_ok=True)
            hub.upload_folder(
                repo_id=self.repo,
                folder_path=self.folder,
                allow_patterns=list(self.files),
                commit_message="Publish the model",
            )
        except HTTPError as error:
            reason = without_secrets(" ".join(str(error).split()))
            raise OSError(
                f"{self.repo} was not published ({reason}): see that HF_TOKEN may write to it, then run this again"
            ) from None
        return f"{hub.endpoint}/{self.repo}"


def check_publishable(model: TrainedModel) -> None:
    """Raise ValueError for a model that learned from the user's own data, or of which nobody can tell."""
    if model.data is None:
        raise ValueError(
            f"{model.name} is not published: what it learned from is not known, for metrics/ is of another run; "
            "run `dvc repro` first"
        )
    if own := own_sources(model.data["provenance"]):
        raise ValueError(
            f"{model.name} is not published: it learned from your own data ({', '.join(sorted(own))}), which a model "
            "can repeat word by word; where these texts may be public, export it and upload that folder yourself"
        )
