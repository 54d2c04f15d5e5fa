"""Print the dependencies of the given pyproject.toml files, one a line, for pip.

This keeps them in a layer of their own, which a change of the code does not rebuild.
"""

import pathlib
import sys
import tomllib

for name in sys.argv[1:]:
    project = tomllib.loads(pathlib.Path(name).read_text())["project"]
    sys.stdout.writelines(f"{line}\n" for line in project["dependencies"])
