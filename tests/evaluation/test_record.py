"""The result record: what it says of the library's own checkout."""

import subprocess

from latent_trainer.evaluation import record


def test_results_alone_leave_the_checkout_clean(tmp_path, monkeypatch):
    """A command that writes several records says of each what its code was, not that the one before has been written."""

    def git(*words: str) -> None:
        named = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        subprocess.run(["git", *named, *words], cwd=tmp_path, check=True, capture_output=True)

    for name in ("results/old.json", "latent_trainer/code.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    monkeypatch.setattr(record, "__file__", str(tmp_path / "latent_trainer" / "record.py"))
    assert record.environment()["git_dirty"] is False
    (tmp_path / "results" / "old.json").write_text("2\n")
    (tmp_path / "results" / "new.json").write_text("2\n")
    assert record.environment()["git_dirty"] is False
    (tmp_path / "latent_trainer" / "more.py").write_text("2\n")
    assert record.environment()["git_dirty"] is True
    (tmp_path / "latent_trainer" / "more.py").unlink()
    (tmp_path / "latent_trainer" / "code.py").write_text("2\n")
    assert record.environment()["git_dirty"] is True
