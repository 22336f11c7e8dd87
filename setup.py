"""What setup.cfg cannot say: a wheel carries the recipes and launch configurations inside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("recipes", "accelerate_configs")  # as in latent_trainer/bundled.py, which finds them


class BuildWithRecipes(build_py):
    """Build the package, and copy the YAML files of ``FOLDERS`` into it unless it is installed in place."""

    def run(self):
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            for source in self._carried():
                target = Path(self.build_lib, "latent_trainer", source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode=True):
        """Return every file that is built."""
        carried = [] if self.editable_mode else self._carried()
        return super().get_outputs(include_bytecode) + [
            str(Path(self.build_lib, "latent_trainer", path)) for path in carried
        ]

    def _carried(self) -> list[Path]:
        return [path for folder in FOLDERS for path in sorted(Path(folder).rglob("*.yaml"))]


setup(cmdclass={"build_py": BuildWithRecipes})
